"""What is made of perf's report."""

from benchmarks.perf_report import add_up


def test_the_blocks_of_a_guest_function_are_one_on_all_vcpus_together() -> None:
    libraries, functions = add_up(
        [
            "# Period\tShared Object\tSymbol",
            "",
            "          30\t[JIT] tid 5      \t[.] cpl0:schedule+0x0",
            "          20\t[JIT] tid 5      \t[.] cpl0:schedule+0x1c",
            "          10\t[JIT] tid 6      \t[.] cpl0:schedule+0x1c",
            "           5\t[JIT] tid 6      \t[.] cpl3:0x401000",
            "           7\tlibunicorn.so.2  \t[.] cpu_exec_x86_64",
        ]
    )
    assert libraries == {"translated code": 65, "libunicorn.so.2": 7}
    assert {" ".join(name.split()): period for name, period in functions.items()} == {
        "translated code [.] cpl0:schedule": 60,
        "translated code [.] cpl3:0x401000": 5,
        "libunicorn.so.2 [.] cpu_exec_x86_64": 7,
    }
