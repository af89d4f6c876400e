"""AML encodings against examples worked out from ACPI 6.5, chapter 20."""

import pytest

from mpvm.hw.acpi import aml


@pytest.mark.parametrize(
    ("size", "encoding"),
    [
        (0, "01"),
        (62, "3f"),
        (63, "4104"),
        (4093, "4fff"),
        (4094, "810001"),
        ((1 << 20) - 4, "8fffff"),
        ((1 << 20) - 3, "c1000001"),
    ],
)
def test_a_package_length_counts_itself_and_grows_when_it_must(size: int, encoding: str) -> None:
    encoded = aml.package_length(size)
    assert encoded.hex() == encoding


@pytest.mark.parametrize(
    ("path", "encoding"),
    [
        ("\\", b"\\\0"),
        ("_CRS", b"_CRS"),
        ("\\_SB", b"\\_SB_"),
        ("\\_SB.PCI0", b"\\\x2e_SB_PCI0"),
        ("A.B.C", b"\x2f\x03A___B___C___"),
    ],
)
def test_a_path_is_names_of_four_characters(path: str, encoding: bytes) -> None:
    assert aml.name_string(path) == encoding


@pytest.mark.parametrize(
    ("value", "encoding"),
    [
        (0, "00"),
        (1, "01"),
        (2, "0a02"),
        (0xFF, "0aff"),
        (0x100, "0b0001"),
        (0x10000, "0c00000100"),
        (1 << 32, "0e0000000001000000"),
    ],
)
def test_an_integer_takes_as_few_bytes_as_it_can(value: int, encoding: str) -> None:
    assert aml.integer(value).hex() == encoding


@pytest.mark.parametrize(("text", "encoding"), [("PNP0501", "0c41d00501"), ("PNP0A03", "0c41d00a03")])
def test_an_eisa_id_is_three_letters_in_five_bits_each(text: str, encoding: str) -> None:
    assert aml.eisa_id(text).hex() == encoding


def test_a_hardware_id_of_acpi_is_a_string() -> None:
    assert aml.hardware_id("PNP0501") == aml.eisa_id("PNP0501")
    assert aml.hardware_id("QEMU0002") == b"\x0dQEMU0002\0"


def test_a_string_ends_with_zero() -> None:
    assert aml.string("QEMU") == b"\x0dQEMU\0"


def test_an_interrupt_is_a_bit_of_a_mask() -> None:
    assert aml.irq(9).hex() == "220002"


def test_a_resource_template_ends_with_its_tag() -> None:
    assert aml.resource_template(aml.irq(4)).hex() == "11080a05" + "221000" + "7900"


def test_a_method_has_its_number_of_arguments_and_whether_it_is_serialized() -> None:
    assert aml.method("M", 2, aml.return_(aml.arg(1))) == b"\x14\x08M___\x0a\xa4\x69"
    assert aml.method("M", 0, serialized=False) == b"\x14\x06M___\x00"


def test_a_fields_units_have_their_bits_without_the_length_of_the_number() -> None:
    encoded = aml.field("R", aml.Access.BYTE, aml.Update.WRITE_AS_ZEROS, ("", 32), ("A", 1), ("", 128))
    assert encoded == b"\x5b\x81\x10R___\x41\x00\x20A___\x01\x00\x40\x08"


def test_conditions_and_loops_hold_their_terms() -> None:
    terms = aml.store(aml.integer(0), aml.local(0))
    condition = aml.equal(aml.local(0), aml.integer(1))
    assert aml.while_(condition, terms) == b"\xa2\x07\x93\x60\x01\x70\x00\x60"
    assert (
        aml.if_(condition, terms) + aml.else_(terms)
        == b"\xa0\x07\x93\x60\x01\x70\x00\x60\xa1\x04\x70\x00\x60"
    )
