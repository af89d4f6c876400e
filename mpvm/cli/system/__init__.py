"""`mpvm-system-x86_64`: QEMU's command line, translated to the configuration that `mpvm run` has.

One module a concern: `options` is the table of what there is, `opts` the grammar of values, `command_line`
reads an argv, the others translate a group of options each. What is imported before the fork server is there
is next to nothing.
"""
