"""`mpvm cpu`: the CPU models, what one becomes under an accelerator, and how two differ."""

import argparse
import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

from mpvm.abi.errors import ConfigError, ExitStatus
from mpvm.abi.feature_words import FeatureWord
from mpvm.accel import accelerator
from mpvm.cli.options import Parser
from mpvm.cpu.features import WORD_SOURCES
from mpvm.cpu.models import SPECIAL_MODELS, CpuModel, by_word, defined_model, model_names, sorted_features
from mpvm.cpu.resolve import resolve_model

_DEFAULT_ACCELERATOR: Final = "unicorn"
_LONGEST: Final = "switched off by default"
# What two models can differ in beside features: the field, and how to write it.
_FIELDS: Final = {
    "vendor": "{}",
    "family": "{}",
    "model": "{}",
    "stepping": "{}",
    "level": "{:#x}",
    "xlevel": "{:#x}",
    "model_id": "{}",
    "phys_bits": "{}",
    "caches": "{}",
    "l3_cache": "{}",
}


def main(argv: Sequence[str]) -> int:
    """Do what `argv` says and print it."""
    arguments = _parser().parse_args(argv)
    try:
        found: dict[str, Any] = arguments.find(arguments)
    except ConfigError as error:
        # There is no configuration whose key could be wrong.
        raise ConfigError(str(error).removeprefix("cpu.model: ")) from error
    if arguments.json:
        print(json.dumps(found, indent=2))
    else:
        for line in arguments.show(found):
            print(line)
    return ExitStatus.OK


def listing() -> Iterator[str]:
    """What `mpvm cpu list` prints."""
    return _show_list(_list(argparse.Namespace()))


def _list(_arguments: argparse.Namespace) -> dict[str, Any]:
    models = []
    for name, stands_for in model_names():
        special = SPECIAL_MODELS.get(name)
        text = special or defined_model(stands_for or name).model_id
        models.append({"name": name, "alias_of": stands_for, "description": text})
    return {"models": models}


def _show_list(found: dict[str, Any]) -> Iterator[str]:
    width = max(len(each["name"]) for each in found["models"])
    for each in found["models"]:
        alias = each["alias_of"]
        yield f"{each['name']:<{width}}  {each['description'] if alias is None else f'is {alias}'}".rstrip()


def _show(arguments: argparse.Namespace) -> dict[str, Any]:
    model = _resolve(arguments.model, arguments.accel)
    switched = accelerator(arguments.accel).default_features if model.name not in SPECIAL_MODELS else {}
    table = defined_model(model.name).features if switched else frozenset()
    on = frozenset(name for name, value in switched.items() if value) & model.features - table
    off = frozenset(name for name, value in switched.items() if not value) & table - model.features
    return {
        **_described(model),
        "switched_on": sorted_features(on),
        "switched_off": sorted_features(off),
    }


def _show_model(found: dict[str, Any]) -> Iterator[str]:
    width = max(map(len, (*_FIELDS, *found["features"], *found["unavailable"], _LONGEST)))
    for field, layout in _FIELDS.items():
        yield f"{field:<{width}}  {layout.format(found[field])}".rstrip()
    for word, names in found["features"].items():
        yield f"{word:<{width}}  {' '.join(names)}"
    for what in ("switched_on", "switched_off"):
        if found[what]:
            yield f"{what.replace('_', ' ') + ' by default':<{width}}  {' '.join(found[what])}"
    if found["unavailable"]:
        yield "left out:"
    for name, reason in found["unavailable"].items():
        yield f"{name:<{width}}  {reason}"


def _compare(arguments: argparse.Namespace) -> dict[str, Any]:
    first, second = (_whole(name, arguments.accel) for name in arguments.models)
    one, two = first._asdict(), second._asdict()
    return {
        "models": [first.name, second.name],
        "only_in_first": _by_source(first.features - second.features),
        "only_in_second": _by_source(second.features - first.features),
        "differ": {field: [one[field], two[field]] for field in _FIELDS if one[field] != two[field]},
    }


def _show_comparison(found: dict[str, Any]) -> Iterator[str]:
    for model, features in zip(
        found["models"], (found["only_in_first"], found["only_in_second"]), strict=True
    ):
        yield f"only in {model}:"
        yield from (f"  {word}  {' '.join(names)}" for word, names in features.items())
    yield "differ in:"
    for field, (one, two) in found["differ"].items():
        layout = _FIELDS[field]
        yield f"  {field}  {layout.format(one)}, {layout.format(two)}"


def _resolve(text: str, accel: str) -> CpuModel:
    chosen = accelerator(accel)
    chosen.check()
    return resolve_model(text, chosen)


def _whole(text: str, accel: str | None) -> CpuModel:
    """The model under `accel`; without one as the table has it, where it is of the table and unchanged."""
    if accel is not None or "," in text or text in SPECIAL_MODELS:
        return _resolve(text, accel or _DEFAULT_ACCELERATOR)
    from mpvm.cpu.options import parse_cpu

    return defined_model(parse_cpu(text).model)._replace(name=text)


def _described(model: CpuModel) -> dict[str, Any]:
    fields = model._asdict()
    reasons = dict(model.unavailable)
    return {
        "name": model.name,
        **{field: fields[field] for field in _FIELDS},
        "features": _by_source(model.features),
        "unavailable": {
            name: reason if reason.startswith("needs ") else f"{reason} doesn't support it"
            for name, reason in reasons.items()
        },
    }


def _by_source(features: frozenset[str]) -> dict[str, list[str]]:
    words: dict[FeatureWord, list[str]] = by_word(features)
    return {str(WORD_SOURCES[word]): names for word, names in words.items()}


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="mpvm cpu", description="The CPU models (docs/cpu-models.md).", allow_abbrev=False)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(name: str, text: str, find: Any, show: Any) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        command.add_argument("--json", action="store_true", help="print JSON")
        command.set_defaults(find=find, show=show)
        return command

    add("list", "list the models, their versions and aliases", _list, _show_list)
    show = add("show", "show what a model is under an accelerator, by feature word", _show, _show_model)
    show.add_argument("model", metavar="MODEL[,CHANGE...]", help="as for `mpvm run --cpu`")
    show.add_argument(
        "--accel", default=_DEFAULT_ACCELERATOR, metavar="NAME", help="the accelerator (unicorn)"
    )
    compare = add("compare", "show how two models differ", _compare, _show_comparison)
    compare.add_argument("models", nargs=2, metavar="MODEL", help="as for `mpvm run --cpu`")
    compare.add_argument(
        "--accel", default=None, metavar="NAME", help="compare what they are under this accelerator"
    )
    return parser
