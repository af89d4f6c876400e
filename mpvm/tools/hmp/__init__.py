"""QEMU's human monitor: commands typed at a chardev, carried out by the functions of QMP's (docs/monitor.md).

Nothing of it is imported before a machine has a monitor or a person goes to it. A command is a decorated
function in a file of `commands`.
"""
