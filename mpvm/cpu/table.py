"""The CPU models: data alone, in QEMU 7.2's names and as it has them.

Each is a vendor, family, model and stepping, the highest basic and extended leaf, the name that
CPUID tells, and its features by feature word (`mpvm.cpu.features.FeatureWord`). A later version of a model
is the one before it with changes, written as a user writes them. `tests/system/test_cpu_reference.py`
compares all this with what QEMU reports.

`max`, `host` and `base` are not data; they are made in `mpvm.cpu.models`.
"""

from typing import Final, NamedTuple

INTEL: Final = "GenuineIntel"
AMD: Final = "AuthenticAMD"
HYGON: Final = "HygonGenuine"


class Version(NamedTuple):
    """What a version changes in the one before it: "+feature -feature property=value"."""

    changes: str
    alias: str | None = None
    model_id: str | None = None


class Definition(NamedTuple):
    """A model's first version, and the later ones. `caches` names an entry of `mpvm.cpu.caches.CACHES`."""

    vendor: str
    family: int
    model: int
    stepping: int
    level: int
    xlevel: int
    model_id: str
    words: dict[str, str]
    versions: tuple[Version, ...] = ()
    caches: str = "legacy"


DEFINITIONS: Final = {
    "qemu64": Definition(
        *(AMD, 15, 107, 1, 0xD, 0x8000000A),
        model_id="QEMU Virtual CPU version 2.5+",
        words={
            "CPUID_1_EDX": (
                "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse"
                " sse2"
            ),
            "CPUID_1_ECX": "pni cx16",
            "CPUID_8000_0001_EDX": "syscall nx lm",
            "CPUID_8000_0001_ECX": "lahf-lm svm",
        },
    ),
    "qemu32": Definition(
        *(INTEL, 6, 6, 3, 0x4, 0x80000004),
        model_id="QEMU Virtual CPU version 2.5+",
        words={
            "CPUID_1_EDX": "fpu de pse tsc msr pae mce cx8 apic sep pge cmov pat mmx fxsr sse sse2",
            "CPUID_1_ECX": "pni",
        },
    ),
    "kvm64": Definition(
        *(INTEL, 15, 6, 1, 0xD, 0x80000008),
        model_id="Common KVM processor",
        words={
            "CPUID_1_EDX": (
                "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr"
                " sse sse2"
            ),
            "CPUID_1_ECX": "pni cx16",
            "CPUID_8000_0001_EDX": "syscall nx lm",
        },
    ),
    "kvm32": Definition(
        *(INTEL, 15, 6, 1, 0x5, 0x80000008),
        model_id="Common 32-bit KVM processor",
        words={
            "CPUID_1_EDX": (
                "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr"
                " sse sse2"
            ),
            "CPUID_1_ECX": "pni",
        },
    ),
    "486": Definition(
        *(INTEL, 4, 8, 0, 0x1, 0x0),
        model_id="",
        words={
            "CPUID_1_EDX": "fpu vme pse",
        },
    ),
    "pentium": Definition(
        *(INTEL, 5, 4, 3, 0x1, 0x0),
        model_id="",
        words={
            "CPUID_1_EDX": "fpu vme de pse tsc msr mce cx8 apic mmx",
        },
    ),
    "pentium2": Definition(
        *(INTEL, 6, 5, 2, 0x2, 0x0),
        model_id="",
        words={
            "CPUID_1_EDX": "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 mmx fxsr",
        },
    ),
    "pentium3": Definition(
        *(INTEL, 6, 7, 3, 0x3, 0x0),
        model_id="",
        words={
            "CPUID_1_EDX": (
                "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 mmx fxsr sse"
            ),
        },
    ),
    "coreduo": Definition(
        *(INTEL, 6, 14, 8, 0xA, 0x80000008),
        model_id="Genuine Intel(R) CPU           T2600  @ 2.16GHz",
        words={
            "CPUID_1_EDX": (
                "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat clflush acpi mmx fxsr"
                " sse sse2 ss"
            ),
            "CPUID_1_ECX": "pni monitor",
            "CPUID_8000_0001_EDX": "nx",
        },
    ),
    "core2duo": Definition(
        *(INTEL, 6, 15, 11, 0xA, 0x80000008),
        model_id="Intel(R) Core(TM)2 Duo CPU     T7700  @ 2.40GHz",
        words={
            "CPUID_1_EDX": (
                "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush acpi mmx"
                " fxsr sse sse2 ss"
            ),
            "CPUID_1_ECX": "pni monitor ssse3 cx16",
            "CPUID_8000_0001_EDX": "syscall nx lm",
            "CPUID_8000_0001_ECX": "lahf-lm",
        },
    ),
    "n270": Definition(
        *(INTEL, 6, 28, 2, 0xA, 0x80000008),
        model_id="Intel(R) Atom(TM) CPU N270   @ 1.60GHz",
        words={
            "CPUID_1_EDX": (
                "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat clflush acpi mmx fxsr"
                " sse sse2 ss"
            ),
            "CPUID_1_ECX": "pni monitor ssse3 movbe",
            "CPUID_8000_0001_EDX": "nx",
            "CPUID_8000_0001_ECX": "lahf-lm",
        },
    ),
    "athlon": Definition(
        *(AMD, 6, 2, 3, 0x2, 0x80000008),
        model_id="QEMU Virtual CPU version 2.5+",
        words={
            "CPUID_1_EDX": (
                "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 mmx fxsr sse sse2"
            ),
            "CPUID_8000_0001_EDX": "mmxext 3dnowext 3dnow",
        },
    ),
    "phenom": Definition(
        *(AMD, 16, 2, 3, 0x5, 0x8000001A),
        model_id="AMD Phenom(tm) 9550 Quad-Core Processor",
        words={
            "CPUID_1_EDX": (
                "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr"
                " sse sse2"
            ),
            "CPUID_1_ECX": "pni monitor cx16 popcnt",
            "CPUID_8000_0001_EDX": "syscall nx mmxext fxsr-opt pdpe1gb rdtscp lm 3dnowext 3dnow",
            "CPUID_8000_0001_ECX": "lahf-lm svm abm sse4a",
            "SVM": "npt",
        },
    ),
    "Conroe": Definition(
        *(INTEL, 6, 15, 3, 0xA, 0x80000008),
        model_id="Intel Celeron_4x0 (Conroe/Merom Class Core 2)",
        words={
            "CPUID_1_EDX": (
                "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr"
                " sse sse2"
            ),
            "CPUID_1_ECX": "pni ssse3",
            "CPUID_8000_0001_EDX": "syscall nx lm",
            "CPUID_8000_0001_ECX": "lahf-lm",
        },
    ),
    "Penryn": Definition(
        *(INTEL, 6, 23, 3, 0xA, 0x80000008),
        model_id="Intel Core 2 Duo P9xxx (Penryn Class Core 2)",
        words={
            "CPUID_1_EDX": (
                "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr"
                " sse sse2"
            ),
            "CPUID_1_ECX": "pni ssse3 cx16 sse4.1",
            "CPUID_8000_0001_EDX": "syscall nx lm",
            "CPUID_8000_0001_ECX": "lahf-lm",
        },
    ),
    "Nehalem": Definition(
        *(INTEL, 6, 26, 3, 0xB, 0x80000008),
        model_id="Intel Core i7 9xx (Nehalem Class Core i7)",
        words={
            "CPUID_1_EDX": (
                "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr"
                " sse sse2"
            ),
            "CPUID_1_ECX": "pni ssse3 cx16 sse4.1 sse4.2 popcnt",
            "CPUID_8000_0001_EDX": "syscall nx lm",
            "CPUID_8000_0001_ECX": "lahf-lm",
        },
        versions=(
            Version(
                "+spec-ctrl",
                alias="Nehalem-IBRS",
                model_id="Intel Core i7 9xx (Nehalem Core i7, IBRS update)",
            ),
        ),
    ),
    "Westmere": Definition(
        *(INTEL, 6, 44, 1, 0xB, 0x80000008),
        model_id="Westmere E56xx/L56xx/X56xx (Nehalem-C)",
        words={
            "CPUID_1_EDX": (
                "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr"
                " sse sse2"
            ),
            "CPUID_1_ECX": "pni pclmulqdq ssse3 cx16 sse4.1 sse4.2 popcnt aes",
            "CPUID_8000_0001_EDX": "syscall nx lm",
            "CPUID_8000_0001_ECX": "lahf-lm",
            "CPUID_6_EAX": "arat",
        },
        versions=(
            Version("+spec-ctrl", alias="Westmere-IBRS", model_id="Westmere E56xx/L56xx/X56xx (IBRS update)"),
        ),
    ),
    "SandyBridge": Definition(
        *(INTEL, 6, 42, 1, 0xD, 0x80000008),
        model_id="Intel Xeon E312xx (Sandy Bridge)",
        words={
            "CPUID_1_EDX": (
                "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr"
                " sse sse2"
            ),
            "CPUID_1_ECX": "pni pclmulqdq ssse3 cx16 sse4.1 sse4.2 x2apic popcnt tsc-deadline aes xsave avx",
            "CPUID_8000_0001_EDX": "syscall nx rdtscp lm",
            "CPUID_8000_0001_ECX": "lahf-lm",
            "CPUID_D_1_EAX": "xsaveopt",
            "CPUID_6_EAX": "arat",
        },
        versions=(
            Version(
                "+spec-ctrl",
                alias="SandyBridge-IBRS",
                model_id="Intel Xeon E312xx (Sandy Bridge, IBRS update)",
            ),
        ),
    ),
    "IvyBridge": Definition(
        *(INTEL, 6, 58, 9, 0xD, 0x80000008),
        model_id="Intel Xeon E3-12xx v2 (Ivy Bridge)",
        words={
            "CPUID_1_EDX": (
                "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr"
                " sse sse2"
            ),
            "CPUID_1_ECX": (
                "pni pclmulqdq ssse3 cx16 sse4.1 sse4.2 x2apic popcnt tsc-deadline aes xsave avx f16c rdrand"
            ),
            "CPUID_7_0_EBX": "fsgsbase smep erms",
            "CPUID_8000_0001_EDX": "syscall nx rdtscp lm",
            "CPUID_8000_0001_ECX": "lahf-lm",
            "CPUID_D_1_EAX": "xsaveopt",
            "CPUID_6_EAX": "arat",
        },
        versions=(
            Version(
                "+spec-ctrl", alias="IvyBridge-IBRS", model_id="Intel Xeon E3-12xx v2 (Ivy Bridge, IBRS)"
            ),
        ),
    ),
    "Haswell": Definition(
        *(INTEL, 6, 60, 4, 0xD, 0x80000008),
        model_id="Intel Core Processor (Haswell)",
        words={
            "CPUID_1_EDX": (
                "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr"
                " sse sse2"
            ),
            "CPUID_1_ECX": (
                "pni pclmulqdq ssse3 fma cx16 pcid sse4.1 sse4.2 x2apic movbe popcnt tsc-deadline aes"
                " xsave avx f16c rdrand"
            ),
            "CPUID_7_0_EBX": "fsgsbase bmi1 hle avx2 smep bmi2 erms invpcid rtm",
            "CPUID_8000_0001_EDX": "syscall nx rdtscp lm",
            "CPUID_8000_0001_ECX": "lahf-lm abm",
            "CPUID_D_1_EAX": "xsaveopt",
            "CPUID_6_EAX": "arat",
        },
        versions=(
            Version(
                "-hle -rtm stepping=1",
                alias="Haswell-noTSX",
                model_id="Intel Core Processor (Haswell, no TSX)",
            ),
            Version(
                "+hle +rtm +spec-ctrl stepping=4",
                alias="Haswell-IBRS",
                model_id="Intel Core Processor (Haswell, IBRS)",
            ),
            Version(
                "-hle -rtm stepping=1",
                alias="Haswell-noTSX-IBRS",
                model_id="Intel Core Processor (Haswell, no TSX, IBRS)",
            ),
        ),
    ),
    "Broadwell": Definition(
        *(INTEL, 6, 61, 2, 0xD, 0x80000008),
        model_id="Intel Core Processor (Broadwell)",
        words={
            "CPUID_1_EDX": (
                "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr"
                " sse sse2"
            ),
            "CPUID_1_ECX": (
                "pni pclmulqdq ssse3 fma cx16 pcid sse4.1 sse4.2 x2apic movbe popcnt tsc-deadline aes"
                " xsave avx f16c rdrand"
            ),
            "CPUID_7_0_EBX": "fsgsbase bmi1 hle avx2 smep bmi2 erms invpcid rtm rdseed adx smap",
            "CPUID_8000_0001_EDX": "syscall nx rdtscp lm",
            "CPUID_8000_0001_ECX": "lahf-lm abm 3dnowprefetch",
            "CPUID_D_1_EAX": "xsaveopt",
            "CPUID_6_EAX": "arat",
        },
        versions=(
            Version(
                "-hle -rtm", alias="Broadwell-noTSX", model_id="Intel Core Processor (Broadwell, no TSX)"
            ),
            Version(
                "+hle +rtm +spec-ctrl",
                alias="Broadwell-IBRS",
                model_id="Intel Core Processor (Broadwell, IBRS)",
            ),
            Version(
                "-hle -rtm",
                alias="Broadwell-noTSX-IBRS",
                model_id="Intel Core Processor (Broadwell, no TSX, IBRS)",
            ),
        ),
    ),
    "Skylake-Client": Definition(
        *(INTEL, 6, 94, 3, 0xD, 0x80000008),
        model_id="Intel Core Processor (Skylake)",
        words={
            "CPUID_1_EDX": (
                "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr"
                " sse sse2"
            ),
            "CPUID_1_ECX": (
                "pni pclmulqdq ssse3 fma cx16 pcid sse4.1 sse4.2 x2apic movbe popcnt tsc-deadline aes"
                " xsave avx f16c rdrand"
            ),
            "CPUID_7_0_EBX": "fsgsbase bmi1 hle avx2 smep bmi2 erms invpcid rtm rdseed adx smap",
            "CPUID_8000_0001_EDX": "syscall nx rdtscp lm",
            "CPUID_8000_0001_ECX": "lahf-lm abm 3dnowprefetch",
            "CPUID_D_1_EAX": "xsaveopt xsavec xgetbv1",
            "CPUID_6_EAX": "arat",
        },
        versions=(
            Version(
                "+spec-ctrl", alias="Skylake-Client-IBRS", model_id="Intel Core Processor (Skylake, IBRS)"
            ),
            Version(
                "-hle -rtm",
                alias="Skylake-Client-noTSX-IBRS",
                model_id="Intel Core Processor (Skylake, IBRS, no TSX)",
            ),
            Version("+xsaves"),
        ),
    ),
    "Skylake-Server": Definition(
        *(INTEL, 6, 85, 4, 0xD, 0x80000008),
        model_id="Intel Xeon Processor (Skylake)",
        words={
            "CPUID_1_EDX": (
                "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr"
                " sse sse2"
            ),
            "CPUID_1_ECX": (
                "pni pclmulqdq ssse3 fma cx16 pcid sse4.1 sse4.2 x2apic movbe popcnt tsc-deadline aes"
                " xsave avx f16c rdrand"
            ),
            "CPUID_7_0_EBX": (
                "fsgsbase bmi1 hle avx2 smep bmi2 erms invpcid rtm avx512f avx512dq rdseed adx smap"
                " clflushopt clwb avx512cd avx512bw avx512vl"
            ),
            "CPUID_7_0_ECX": "pku",
            "CPUID_8000_0001_EDX": "syscall nx pdpe1gb rdtscp lm",
            "CPUID_8000_0001_ECX": "lahf-lm abm 3dnowprefetch",
            "CPUID_D_1_EAX": "xsaveopt xsavec xgetbv1",
            "CPUID_6_EAX": "arat",
        },
        versions=(
            Version(
                "-clflushopt +spec-ctrl",
                alias="Skylake-Server-IBRS",
                model_id="Intel Xeon Processor (Skylake, IBRS)",
            ),
            Version(
                "-hle -rtm",
                alias="Skylake-Server-noTSX-IBRS",
                model_id="Intel Xeon Processor (Skylake, IBRS, no TSX)",
            ),
            Version(""),
            Version("+xsaves"),
        ),
    ),
    "Cascadelake-Server": Definition(
        *(INTEL, 6, 85, 6, 0xD, 0x80000008),
        model_id="Intel Xeon Processor (Cascadelake)",
        words={
            "CPUID_1_EDX": (
                "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr"
                " sse sse2"
            ),
            "CPUID_1_ECX": (
                "pni pclmulqdq ssse3 fma cx16 pcid sse4.1 sse4.2 x2apic movbe popcnt tsc-deadline aes"
                " xsave avx f16c rdrand"
            ),
            "CPUID_7_0_EBX": (
                "fsgsbase bmi1 hle avx2 smep bmi2 erms invpcid rtm avx512f avx512dq rdseed adx smap"
                " clflushopt clwb avx512cd avx512bw avx512vl"
            ),
            "CPUID_7_0_ECX": "pku avx512vnni",
            "CPUID_7_0_EDX": "spec-ctrl ssbd",
            "CPUID_8000_0001_EDX": "syscall nx pdpe1gb rdtscp lm",
            "CPUID_8000_0001_ECX": "lahf-lm abm 3dnowprefetch",
            "CPUID_D_1_EAX": "xsaveopt xsavec xgetbv1",
            "CPUID_6_EAX": "arat",
        },
        versions=(
            Version("+arch-capabilities +rdctl-no +ibrs-all +skip-l1dfl-vmentry +mds-no"),
            Version("-hle -rtm", alias="Cascadelake-Server-noTSX"),
            Version(""),
            Version("+xsaves"),
        ),
    ),
    "Cooperlake": Definition(
        *(INTEL, 6, 85, 10, 0xD, 0x80000008),
        model_id="Intel Xeon Processor (Cooperlake)",
        words={
            "CPUID_1_EDX": (
                "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr"
                " sse sse2"
            ),
            "CPUID_1_ECX": (
                "pni pclmulqdq ssse3 fma cx16 pcid sse4.1 sse4.2 x2apic movbe popcnt tsc-deadline aes"
                " xsave avx f16c rdrand"
            ),
            "CPUID_7_0_EBX": (
                "fsgsbase bmi1 hle avx2 smep bmi2 erms invpcid rtm avx512f avx512dq rdseed adx smap"
                " clflushopt clwb avx512cd avx512bw avx512vl"
            ),
            "CPUID_7_0_ECX": "pku avx512vnni",
            "CPUID_7_0_EDX": "spec-ctrl stibp arch-capabilities ssbd",
            "CPUID_7_1_EAX": "avx512-bf16",
            "CPUID_8000_0001_EDX": "syscall nx pdpe1gb rdtscp lm",
            "CPUID_8000_0001_ECX": "lahf-lm abm 3dnowprefetch",
            "CPUID_D_1_EAX": "xsaveopt xsavec xgetbv1",
            "CPUID_6_EAX": "arat",
            "ARCH_CAPABILITIES": "rdctl-no ibrs-all skip-l1dfl-vmentry mds-no pschange-mc-no taa-no",
        },
        versions=(Version("+xsaves"),),
    ),
    "Icelake-Server": Definition(
        *(INTEL, 6, 134, 0, 0xD, 0x80000008),
        model_id="Intel Xeon Processor (Icelake)",
        words={
            "CPUID_1_EDX": (
                "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr"
                " sse sse2"
            ),
            "CPUID_1_ECX": (
                "pni pclmulqdq ssse3 fma cx16 pcid sse4.1 sse4.2 x2apic movbe popcnt tsc-deadline aes"
                " xsave avx f16c rdrand"
            ),
            "CPUID_7_0_EBX": (
                "fsgsbase bmi1 hle avx2 smep bmi2 erms invpcid rtm avx512f avx512dq rdseed adx smap"
                " clflushopt clwb avx512cd avx512bw avx512vl"
            ),
            "CPUID_7_0_ECX": (
                "avx512vbmi umip pku avx512vbmi2 gfni vaes vpclmulqdq avx512vnni avx512bitalg"
                " avx512-vpopcntdq la57"
            ),
            "CPUID_7_0_EDX": "spec-ctrl ssbd",
            "CPUID_8000_0001_EDX": "syscall nx pdpe1gb rdtscp lm",
            "CPUID_8000_0001_ECX": "lahf-lm abm 3dnowprefetch",
            "CPUID_8000_0008_EBX": "wbnoinvd",
            "CPUID_D_1_EAX": "xsaveopt xsavec xgetbv1",
            "CPUID_6_EAX": "arat",
        },
        versions=(
            Version("-hle -rtm", alias="Icelake-Server-noTSX"),
            Version(
                "+arch-capabilities +rdctl-no +ibrs-all +skip-l1dfl-vmentry +mds-no +pschange-mc-no +taa-no"
            ),
            Version("+avx512ifma +sha-ni +rdpid +fsrm model=106"),
            Version("+xsaves"),
            Version(""),
        ),
    ),
    "Denverton": Definition(
        *(INTEL, 6, 95, 1, 0x15, 0x80000008),
        model_id="Intel Atom Processor (Denverton)",
        words={
            "CPUID_1_EDX": (
                "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr"
                " sse sse2"
            ),
            "CPUID_1_ECX": (
                "pni pclmulqdq monitor ssse3 cx16 sse4.1 sse4.2 x2apic movbe popcnt tsc-deadline aes"
                " xsave rdrand"
            ),
            "CPUID_7_0_EBX": "fsgsbase smep erms mpx rdseed smap clflushopt sha-ni",
            "CPUID_7_0_EDX": "spec-ctrl arch-capabilities ssbd",
            "CPUID_8000_0001_EDX": "syscall nx pdpe1gb rdtscp lm",
            "CPUID_8000_0001_ECX": "lahf-lm 3dnowprefetch",
            "CPUID_D_1_EAX": "xsaveopt xsavec xgetbv1",
            "CPUID_6_EAX": "arat",
            "ARCH_CAPABILITIES": "rdctl-no skip-l1dfl-vmentry",
        },
        versions=(
            Version("-monitor -mpx"),
            Version("+xsaves"),
        ),
    ),
    "Snowridge": Definition(
        *(INTEL, 6, 134, 1, 0x1B, 0x80000008),
        model_id="Intel Atom Processor (SnowRidge)",
        words={
            "CPUID_1_EDX": (
                "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr"
                " sse sse2"
            ),
            "CPUID_1_ECX": (
                "pni pclmulqdq monitor ssse3 cx16 sse4.1 sse4.2 x2apic movbe popcnt tsc-deadline aes"
                " xsave rdrand"
            ),
            "CPUID_7_0_EBX": "fsgsbase smep erms mpx rdseed smap clflushopt clwb sha-ni",
            "CPUID_7_0_ECX": "umip gfni cldemote movdiri movdir64b",
            "CPUID_7_0_EDX": "spec-ctrl arch-capabilities core-capability ssbd",
            "CPUID_8000_0001_EDX": "syscall nx pdpe1gb rdtscp lm",
            "CPUID_8000_0001_ECX": "lahf-lm 3dnowprefetch",
            "CPUID_D_1_EAX": "xsaveopt xsavec xgetbv1",
            "CPUID_6_EAX": "arat",
            "CORE_CAPABILITY": "split-lock-detect",
        },
        versions=(
            Version("-mpx", model_id="Intel Atom Processor (Snowridge, no MPX)"),
            Version("+xsaves"),
            Version("-core-capability -split-lock-detect"),
        ),
    ),
    "KnightsMill": Definition(
        *(INTEL, 6, 133, 0, 0xD, 0x80000008),
        model_id="Intel Xeon Phi Processor (Knights Mill)",
        words={
            "CPUID_1_EDX": (
                "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr"
                " sse sse2 ss"
            ),
            "CPUID_1_ECX": (
                "pni pclmulqdq ssse3 fma cx16 sse4.1 sse4.2 x2apic movbe popcnt tsc-deadline aes xsave"
                " avx f16c rdrand"
            ),
            "CPUID_7_0_EBX": (
                "fsgsbase bmi1 avx2 smep bmi2 erms avx512f rdseed adx avx512pf avx512er avx512cd"
            ),
            "CPUID_7_0_ECX": "avx512-vpopcntdq",
            "CPUID_7_0_EDX": "avx512-4vnniw avx512-4fmaps",
            "CPUID_8000_0001_EDX": "syscall nx pdpe1gb rdtscp lm",
            "CPUID_8000_0001_ECX": "lahf-lm abm 3dnowprefetch",
            "CPUID_D_1_EAX": "xsaveopt",
            "CPUID_6_EAX": "arat",
        },
    ),
    "Opteron_G1": Definition(
        *(AMD, 15, 6, 1, 0x5, 0x80000008),
        model_id="AMD Opteron 240 (Gen 1 Class Opteron)",
        words={
            "CPUID_1_EDX": (
                "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr"
                " sse sse2"
            ),
            "CPUID_1_ECX": "pni",
            "CPUID_8000_0001_EDX": "syscall nx lm",
        },
    ),
    "Opteron_G2": Definition(
        *(AMD, 15, 6, 1, 0x5, 0x80000008),
        model_id="AMD Opteron 22xx (Gen 2 Class Opteron)",
        words={
            "CPUID_1_EDX": (
                "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr"
                " sse sse2"
            ),
            "CPUID_1_ECX": "pni cx16",
            "CPUID_8000_0001_EDX": "syscall nx lm",
            "CPUID_8000_0001_ECX": "lahf-lm svm",
        },
    ),
    "Opteron_G3": Definition(
        *(AMD, 16, 2, 3, 0x5, 0x80000008),
        model_id="AMD Opteron 23xx (Gen 3 Class Opteron)",
        words={
            "CPUID_1_EDX": (
                "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr"
                " sse sse2"
            ),
            "CPUID_1_ECX": "pni monitor cx16 popcnt",
            "CPUID_8000_0001_EDX": "syscall nx rdtscp lm",
            "CPUID_8000_0001_ECX": "lahf-lm svm abm sse4a misalignsse",
        },
    ),
    "Opteron_G4": Definition(
        *(AMD, 21, 1, 2, 0xD, 0x8000001A),
        model_id="AMD Opteron 62xx class CPU",
        words={
            "CPUID_1_EDX": (
                "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr"
                " sse sse2"
            ),
            "CPUID_1_ECX": "pni pclmulqdq ssse3 cx16 sse4.1 sse4.2 popcnt aes xsave avx",
            "CPUID_8000_0001_EDX": "syscall nx pdpe1gb rdtscp lm",
            "CPUID_8000_0001_ECX": "lahf-lm svm abm sse4a misalignsse 3dnowprefetch xop fma4",
            "SVM": "npt nrip-save",
        },
    ),
    "Opteron_G5": Definition(
        *(AMD, 21, 2, 0, 0xD, 0x8000001A),
        model_id="AMD Opteron 63xx class CPU",
        words={
            "CPUID_1_EDX": (
                "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr"
                " sse sse2"
            ),
            "CPUID_1_ECX": "pni pclmulqdq ssse3 fma cx16 sse4.1 sse4.2 popcnt aes xsave avx f16c",
            "CPUID_8000_0001_EDX": "syscall nx pdpe1gb rdtscp lm",
            "CPUID_8000_0001_ECX": "lahf-lm svm abm sse4a misalignsse 3dnowprefetch xop fma4 tbm",
            "SVM": "npt nrip-save",
        },
    ),
    "EPYC": Definition(
        *(AMD, 23, 1, 2, 0xD, 0x8000001E),
        model_id="AMD EPYC Processor",
        caches="zen",
        words={
            "CPUID_1_EDX": (
                "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr"
                " sse sse2"
            ),
            "CPUID_1_ECX": (
                "pni pclmulqdq monitor ssse3 fma cx16 sse4.1 sse4.2 movbe popcnt aes xsave avx f16c rdrand"
            ),
            "CPUID_7_0_EBX": "fsgsbase bmi1 avx2 smep bmi2 rdseed adx smap clflushopt sha-ni",
            "CPUID_8000_0001_EDX": "syscall nx mmxext fxsr-opt pdpe1gb rdtscp lm",
            "CPUID_8000_0001_ECX": "lahf-lm svm cr8legacy abm sse4a misalignsse 3dnowprefetch osvw topoext",
            "SVM": "npt nrip-save",
            "CPUID_D_1_EAX": "xsaveopt xsavec xgetbv1",
            "CPUID_6_EAX": "arat",
        },
        versions=(
            Version("+ibpb", alias="EPYC-IBPB", model_id="AMD EPYC Processor (with IBPB)"),
            Version("+perfctr-core +clzero +xsaveerptr +xsaves", model_id="AMD EPYC Processor"),
        ),
    ),
    "EPYC-Rome": Definition(
        *(AMD, 23, 49, 0, 0xD, 0x8000001E),
        model_id="AMD EPYC-Rome Processor",
        caches="zen2",
        words={
            "CPUID_1_EDX": (
                "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr"
                " sse sse2"
            ),
            "CPUID_1_ECX": (
                "pni pclmulqdq monitor ssse3 fma cx16 sse4.1 sse4.2 movbe popcnt aes xsave avx f16c rdrand"
            ),
            "CPUID_7_0_EBX": "fsgsbase bmi1 avx2 smep bmi2 rdseed adx smap clflushopt clwb sha-ni",
            "CPUID_7_0_ECX": "umip rdpid",
            "CPUID_8000_0001_EDX": "syscall nx mmxext fxsr-opt pdpe1gb rdtscp lm",
            "CPUID_8000_0001_ECX": (
                "lahf-lm svm cr8legacy abm sse4a misalignsse 3dnowprefetch osvw topoext perfctr-core"
            ),
            "CPUID_8000_0008_EBX": "clzero xsaveerptr wbnoinvd ibpb amd-stibp",
            "SVM": "npt nrip-save",
            "CPUID_D_1_EAX": "xsaveopt xsavec xgetbv1 xsaves",
            "CPUID_6_EAX": "arat",
        },
        versions=(Version("+ibrs +amd-ssbd"),),
    ),
    "EPYC-Milan": Definition(
        *(AMD, 25, 1, 1, 0xD, 0x8000001E),
        model_id="AMD EPYC-Milan Processor",
        caches="zen3",
        words={
            "CPUID_1_EDX": (
                "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr"
                " sse sse2"
            ),
            "CPUID_1_ECX": (
                "pni pclmulqdq monitor ssse3 fma cx16 pcid sse4.1 sse4.2 movbe popcnt aes xsave avx f16c"
                " rdrand"
            ),
            "CPUID_7_0_EBX": (
                "fsgsbase bmi1 avx2 smep bmi2 erms invpcid rdseed adx smap clflushopt clwb sha-ni"
            ),
            "CPUID_7_0_ECX": "umip pku rdpid",
            "CPUID_7_0_EDX": "fsrm",
            "CPUID_8000_0001_EDX": "syscall nx mmxext fxsr-opt pdpe1gb rdtscp lm",
            "CPUID_8000_0001_ECX": (
                "lahf-lm svm cr8legacy abm sse4a misalignsse 3dnowprefetch osvw topoext perfctr-core"
            ),
            "CPUID_8000_0008_EBX": "clzero xsaveerptr wbnoinvd ibpb ibrs amd-stibp amd-ssbd",
            "SVM": "npt nrip-save svme-addr-chk",
            "CPUID_D_1_EAX": "xsaveopt xsavec xgetbv1 xsaves",
            "CPUID_6_EAX": "arat",
        },
    ),
    "Dhyana": Definition(
        *(HYGON, 24, 0, 1, 0xD, 0x8000001E),
        model_id="Hygon Dhyana Processor",
        caches="zen",
        words={
            "CPUID_1_EDX": (
                "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr"
                " sse sse2"
            ),
            "CPUID_1_ECX": "pni monitor ssse3 fma cx16 sse4.1 sse4.2 movbe popcnt xsave avx f16c rdrand",
            "CPUID_7_0_EBX": "fsgsbase bmi1 avx2 smep bmi2 rdseed adx smap clflushopt",
            "CPUID_8000_0001_EDX": "syscall nx mmxext fxsr-opt pdpe1gb rdtscp lm",
            "CPUID_8000_0001_ECX": "lahf-lm svm cr8legacy abm sse4a misalignsse 3dnowprefetch osvw topoext",
            "CPUID_8000_0008_EBX": "ibpb",
            "SVM": "npt nrip-save",
            "CPUID_D_1_EAX": "xsaveopt xsavec xgetbv1",
            "CPUID_6_EAX": "arat",
        },
        versions=(Version("+xsaves"),),
    ),
}
