"""The object model, after QEMU's: module init levels, types, properties, the composition tree, devices.

`module` is include/qemu/module.h, `type_info`, `object`, `properties` and `path` are qom/object.c, `qdev` and
`resettable` are hw/core, `globals` is hw/core/qdev-properties.c's half of -global, `qmp_cmds` is
qom/qom-qmp-cmds.c. Nothing here knows a device.
"""
