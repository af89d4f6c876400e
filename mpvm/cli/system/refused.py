"""Options of QEMU's that do not exist here, with the reason: more for a user than "invalid option"."""

_GROUPS = {
    "there are no disks here": (
        "fda fdb hda hdb hdc hdd cdrom drive blockdev sd pflash mtdblock snapshot iscsi loadvm "
        "option-rom boot"
    ),
    "there is no network here": "netdev",
    "there is no display here": (
        "full-screen portrait rotate spice k g sdl gtk curses alt-grab ctrl-grab win2k-hack"
    ),
    "there is no sound here": "audio audiodev audio-help soundhw",
    "there is no USB here": "usb usbdevice",
    "a vCPU's memory is one block here, -m says how large": "numa mem-path mem-prealloc",
    "a vCPU moves between processes here, not between machines": "incoming only-migratable dump-vmstate",
    "there is no table for it here": "smbios acpitable dtb",
    "there is no debugger's stub here": "gdb s",
    "is not there in mpvm": (
        "object set readconfig sandbox runas chroot icount plugin L virtfs fsdev tpmdev compat "
        "preconfig add-fd singlestep seed semihosting semihosting-config dfilter echr msg xen-domid "
        "xen-attach xen-domid-restrict enable-sync-profile async-teardown watchdog-action qmp-pretty"
    ),
}
REFUSED = {name: reason for reason, names in _GROUPS.items() for name in names.split()}
