"""The drift command shows every kind of difference, and omits recorded differences.

The files in tests/data/drift are fictitious: `published.json` is like published descriptions (one
component for both directions, pages inline), `ours.yaml` is like htc.yaml, and `record.md` lists
all differences between them.
"""

from __future__ import annotations

import copy
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from codegen.drift.__main__ import main
from codegen.drift.compare import Difference, compare
from codegen.drift.published import Published, load
from codegen.drift.record import Explanation, read_record
from codegen.spec import Spec

from ..limits import NOBODY
from ..service import Answer, Service

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "data" / "drift"
PUBLISHED = json.loads((DATA / "published.json").read_text(encoding="utf-8"))
PAIR = ["--ours", str(DATA / "ours.yaml"), "--record", str(DATA / "record.md")]
DEPOTS = "GET /depots"
PARCELS = "/depots/{depotId}/parcels"


def published() -> dict[str, Any]:
    return copy.deepcopy(PUBLISHED)


def at(node: Any, *way: str | int) -> Any:
    for step in way:
        node = node[step]
    return node


def listing(raw: dict[str, Any]) -> Any:
    return at(raw, "paths", "/depots", "get")


def page(raw: dict[str, Any]) -> Any:
    return at(listing(raw), "responses", "200", "content", "application/json", "schema")


def fields(raw: dict[str, Any], component: str) -> Any:
    return at(raw, "components", "schemas", component, "properties")


def unexplained(raw: dict[str, Any]) -> list[str]:
    record = read_record((DATA / "record.md").read_text(encoding="utf-8"))
    found = compare(Published(raw), Spec(DATA / "ours.yaml"))
    return [str(item) for item in found if not any(line.explains(item) for line in record)]


# Changes of the published description, with all lines that they must produce.
CHANGES: dict[str, tuple[Callable[[dict[str, Any]], object], list[str]]] = {
    "an operation is new": (
        lambda raw: raw["paths"].update({"/carts": {"head": {"responses": {"200": {}}}}}),
        ["HEAD /carts: new there"],
    ),
    "an operation is gone": (
        lambda raw: at(raw, "paths", PARCELS).pop("delete"),
        [f"DELETE {PARCELS}: not there"],
    ),
    "an operation is deprecated": (
        lambda raw: listing(raw).update(deprecated=True),
        [f"{DEPOTS}: deprecated there true, here none"],
    ),
    "a parameter is new": (
        lambda raw: listing(raw)["parameters"].append(
            {"name": "near", "in": "query", "required": True, "schema": {"type": "string"}}
        ),
        [f"{DEPOTS}: query parameter near: new there (string, required)"],
    ),
    "a parameter is gone": (
        lambda raw: listing(raw)["parameters"].pop(0),
        [f"{DEPOTS}: query parameter open: not there"],
    ),
    "a parameter is required": (
        lambda raw: listing(raw)["parameters"][0].update(required=True),
        [f"{DEPOTS}: query parameter open: required there, optional here"],
    ),
    "a parameter is of another type": (
        lambda raw: listing(raw)["parameters"][0]["schema"].update(type="string"),
        [f"{DEPOTS}: query parameter open: type there string, here boolean"],
    ),
    "a parameter's default changed": (
        lambda raw: listing(raw)["parameters"][1]["schema"].update(default=50),
        [f"{DEPOTS}: query parameter pageSize: default there 50, here 100"],
    ),
    "a parameter's default is the same in quotes": (
        lambda raw: listing(raw)["parameters"][1]["schema"].update(default="100"),
        [f'{DEPOTS}: query parameter pageSize: default there "100", here 100'],
    ),
    "a parameter's bound changed": (
        lambda raw: listing(raw)["parameters"][1]["schema"].update(maximum=1000),
        [f"{DEPOTS}: query parameter pageSize: maximum there 1000, here 500"],
    ),
    "a parameter has listed values": (
        lambda raw: listing(raw)["parameters"][1]["schema"].update(enum=[10, 100]),
        [f"{DEPOTS}: query parameter pageSize: values there 10, 100, here none"],
    ),
    "a parameter of the path changed": (
        lambda raw: at(raw, "paths", PARCELS, "parameters", 0, "schema").update(maxLength=9),
        [
            f"{method} {PARCELS}: path parameter depotId: maxLength there 9, here none"
            for method in ("DELETE", "GET", "POST")
        ],
    ),
    "a status is new": (
        lambda raw: listing(raw)["responses"].update({"429": {}}),
        [f"{DEPOTS}: answer 429: new there"],
    ),
    "a status is gone": (
        lambda raw: listing(raw)["responses"].pop("404"),
        [f"{DEPOTS}: answer 404: not there", "Fault: matches nothing here (object)"],
    ),
    "an answer has another media type": (
        lambda raw: listing(raw)["responses"]["200"].update(
            content={"text/csv": {"schema": {"type": "string"}}}
        ),
        [
            f"{DEPOTS}: answer 200: content there text/csv, here application/json",
            f"{DEPOTS}: answer 200: type there string, here object",
        ],
    ),
    "a field is new in an inline schema": (
        lambda raw: page(raw)["properties"].update(total={"type": "integer"}),
        [f"{DEPOTS}: answer 200.total: new there (integer)"],
    ),
    "a field is gone from an inline schema": (
        lambda raw: page(raw)["properties"].pop("next"),
        [f"{DEPOTS}: answer 200.next: not there (here string)"],
    ),
    "a listing holds something else": (
        lambda raw: page(raw)["properties"]["items"].update(items={"type": "string"}),
        [f"{DEPOTS}: answer 200.items[]: type there string, here object"],
    ),
    "a body is gone": (
        lambda raw: at(raw, "paths", PARCELS, "post").pop("requestBody"),
        [f"POST {PARCELS}: body: not there"],
    ),
    "a body is new": (
        lambda raw: at(raw, "paths", PARCELS, "delete").update(requestBody={}),
        [f"DELETE {PARCELS}: body: new there"],
    ),
    "a body is optional": (
        lambda raw: at(raw, "paths", PARCELS, "post", "requestBody").pop("required"),
        [f"POST {PARCELS}: body: optional there, required here"],
    ),
    "a value is new": (
        lambda raw: at(raw, "components", "schemas", "Zone", "enum").append("EAST"),
        ["Zone: value EAST: new there"],
    ),
    "a value is gone": (
        lambda raw: at(raw, "components", "schemas", "Zone", "enum").remove("SOUTH"),
        ["Zone: value SOUTH: not there"],
    ),
    "a field is new, both ways": (
        lambda raw: fields(raw, "Parcel").update(colour={"type": "string"}),
        ["Parcel.colour: new there (string)", "Parcel.colour (ParcelCreate): new there (string)"],
    ),
    "a field is new in answers only": (
        lambda raw: fields(raw, "Parcel").update(seen={"type": "boolean", "readOnly": True}),
        ["Parcel.seen: new there (boolean)"],
    ),
    "a field is new in requests only": (
        lambda raw: fields(raw, "Parcel").update(key={"type": "string", "writeOnly": True}),
        ["Parcel.key (ParcelCreate): new there (string)"],
    ),
    "a new field is of a new component": (
        lambda raw: (
            raw["components"]["schemas"].update(Van={"type": "object"}),
            fields(raw, "Depot").update(van={"$ref": "#/components/schemas/Van"}),
        ),
        ["Depot.van: new there (Van)", "Van: matches nothing here (object)"],
    ),
    "a field is gone": (
        lambda raw: fields(raw, "Depot").pop("zone"),
        ["Depot.zone: not there (here Zone)"],
    ),
    "a field is new below a component": (
        lambda raw: fields(raw, "Parcel")["size"]["properties"].update(depth={"type": "number"}),
        [
            "Parcel.size.depth: new there (number)",
            "Parcel.size.depth (ParcelCreate): new there (number)",
        ],
    ),
    "a field is of another type": (
        lambda raw: fields(raw, "Depot")["depotId"].update(type="integer"),
        ["Depot.depotId: type there integer, here string"],
    ),
    "a field is of two types": (
        lambda raw: fields(raw, "Depot").update(
            depotId={"oneOf": [{"type": "integer"}, {"type": "string", "maxLength": 8}]}
        ),
        [
            "Depot.depotId: maxLength there 8, here none",
            "Depot.depotId: type there integer or string, here string",
        ],
    ),
    "a field has another format": (
        lambda raw: at(raw, "components", "schemas", "Instant").update(format="date"),
        ["Depot.openedAt: format there date, here date-time"],
    ),
    "a field's items have another type": (
        lambda raw: fields(raw, "Parcel")["notes"]["additionalProperties"].update(type="integer"),
        [
            "Parcel.notes{}: type there integer, here string",
            "Parcel.notes{} (ParcelCreate): type there integer, here string",
        ],
    ),
    "a field's other fields are refused": (
        lambda raw: fields(raw, "Parcel")["size"].update(additionalProperties=False),
        [
            "Parcel.size: other fields there refused, here any",
            "Parcel.size (ParcelCreate): other fields there refused, here any",
        ],
    ),
    "a field's bound changed": (
        lambda raw: fields(raw, "Parcel")["weight"].update(maximum=70),
        [
            "Parcel.weight: maximum there 70, here none",
            "Parcel.weight (ParcelCreate): maximum there 70, here 50",
        ],
    ),
    "a field's bound is exclusive, in the way of OpenAPI 3.0": (
        lambda raw: fields(raw, "Parcel")["weight"].update(exclusiveMinimum=True),
        [
            "Parcel.weight: exclusiveMinimum there 1, here none",
            "Parcel.weight (ParcelCreate): exclusiveMinimum there 1, here none",
            "Parcel.weight (ParcelCreate): minimum there none, here 1",
        ],
    ),
    "a field's pattern is gone": (
        lambda raw: fields(raw, "Parcel")["label"].pop("pattern"),
        ["Parcel.label (ParcelCreate): pattern there none, here ^[a-z]+$"],
    ),
    "a field's pattern changed where a wildcard might hide it": (
        lambda raw: fields(raw, "Parcel")["label"].update(pattern="^[a-z]x+$"),
        [
            "Parcel.label: pattern there ^[a-z]x+$, here none",
            "Parcel.label (ParcelCreate): pattern there ^[a-z]x+$, here ^[a-z]+$",
        ],
    ),
    "a field's items may be repeated": (
        lambda raw: fields(raw, "Parcel")["zones"].update(uniqueItems=False),
        ["Parcel.zones (ParcelCreate): uniqueItems there none, here true"],
    ),
    "a field is required": (
        lambda raw: at(raw, "components", "schemas", "Parcel", "required").append("label"),
        [
            "Parcel.label: required there, optional here",
            "Parcel.label (ParcelCreate): required there, optional here",
        ],
    ),
    "a field is no longer required": (
        lambda raw: at(raw, "components", "schemas", "Parcel", "required").remove("weight"),
        ["Parcel.weight (ParcelCreate): optional there, required here"],
    ),
    "a field may be null in requests": (
        lambda raw: fields(raw, "Parcel")["pin"].update(nullable=True),
        ["Parcel.pin (ParcelCreate): null there, not here"],
    ),
    "a field may be null in answers": (
        lambda raw: fields(raw, "Depot")["zone"].update(nullable=True),
        ["Depot.zone: null there, not here"],
    ),
    "a field is only read": (
        lambda raw: fields(raw, "Parcel")["size"].update(readOnly=True),
        ["Parcel.size (ParcelCreate): read-only there"],
    ),
    "a field is only written": (
        lambda raw: fields(raw, "Parcel")["size"].update(writeOnly=True),
        ["Parcel.size: write-only there"],
    ),
    "a field can be sent that was only read": (
        lambda raw: fields(raw, "Parcel")["parcelId"].pop("readOnly"),
        ["Parcel.parcelId (ParcelCreate): new there (string)"],
    ),
    "a component has another name": (
        lambda raw: (
            at(raw, "components", "schemas").update(Area={"type": "string", "enum": ["NORTH"]}),
            fields(raw, "Depot").update(zone={"$ref": "#/components/schemas/Area"}),
        ),
        ["Area (Zone): value SOUTH: not there", "Depot.zone: component there Area, here Zone"],
    ),
    "a component is gone, and inline in its place": (
        lambda raw: (
            page(raw)["properties"]["items"].update(
                items=raw["components"]["schemas"].pop("Depot")
            ),
            page(raw)["properties"]["items"]["items"].update(required=["depotId"]),
        ),
        [
            "Depot: not a component there",
            "GET /depots: answer 200.items[].openedAt: null here, not there",
        ],
    ),
    "a component that nothing uses is new": (
        lambda raw: at(raw, "components", "schemas").update(Van={"type": "object"}),
        ["Van: matches nothing here (object)"],
    ),
    "what is referred to is not there": (
        lambda raw: at(raw, "components", "schemas").pop("Zone"),
        [
            "Depot.zone: type there undefined Zone, here string",
            "Parcel.zones[]: type there undefined Zone, here string",
            "Parcel.zones[] (ParcelCreate): type there undefined Zone, here string",
        ],
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_kind_of_difference_is_shown_with_its_place(change: str) -> None:
    apply, lines = CHANGES[change]
    raw = published()
    apply(raw)
    assert sorted(unexplained(raw)) == sorted(lines)


def test_what_the_record_explains_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(DATA / "published.json"), *PAIR]) == 0
    assert capsys.readouterr() == ("unexplained: nothing; recorded in record.md: 21\n", "")


def test_without_a_record_all_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "empty.md"
    empty.touch()
    arguments = [*PAIR, "--record", str(empty)]
    assert main([str(DATA / "published.json"), *arguments]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 21 + 1
    assert lines[-1] == "unexplained: 21; recorded in empty.md: 0"


def test_a_structure_written_in_another_way_is_the_same() -> None:
    """A component of an allOf of two, a field of an anyOf with null, a type in a list."""
    raw = published()
    depot = raw["components"]["schemas"]["Depot"]
    zone = depot["properties"].pop("zone")
    raw["components"]["schemas"]["Depot"] = {
        "allOf": [depot, {"properties": {"zone": {"anyOf": [zone, {"type": "null"}]}}}]
    }
    fields(raw, "Parcel")["parcelId"]["type"] = ["string", "null"]
    lines = unexplained(raw)
    assert lines == ["Depot.zone: null there, not here", "Parcel.parcelId: null there, not here"]


def test_null_that_is_not_recorded_is_shown() -> None:
    """In responses and in requests, even though records accept null everywhere."""
    raw = yaml.safe_load((DATA / "ours.yaml").read_text(encoding="utf-8"))
    fields(raw, "Parcel")["label"]["type"] = ["string", "null"]
    fields(raw, "ParcelCreate")["label"]["type"] = ["string", "null"]
    before = compare(Published(published()), Spec(DATA / "ours.yaml"))
    after = compare(Published(published()), Published(raw))
    assert sorted(map(str, {*after} - {*before})) == [
        "Parcel.label (ParcelCreate): null here, not there",
        "Parcel.label: null here, not there",
    ]


def test_a_line_of_the_record_explains_nothing_else() -> None:
    line = Explanation("*: query parameter pageSize: maximum there 500, here 100*")
    place = "GET /depots: query parameter pageSize"
    assert not line.explains(Difference(place, "maximum there 500, here 1000"))
    assert line.explains(Difference(place, "maximum there 500, here 100*"))
    assert not line.explains(Difference(f"{place}s", "maximum there 500, here 100*"))
    dots = Explanation("Depot.name: new there (string)")
    assert not dots.explains(Difference("Depot-name", "new there (string)"))


def test_a_line_that_explains_nothing_is_distinguished_and_changes_no_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = tmp_path / "record.md"
    stale = "Depot.roof: new there (boolean)"
    text = (DATA / "record.md").read_text(encoding="utf-8")
    record.write_text(f"{text}\nIt had one. (S)\n\n```drift\n{stale}\n```\n", encoding="utf-8")
    assert main([str(DATA / "published.json"), *PAIR, "--record", str(record)]) == 0
    assert capsys.readouterr().err == f"matches no difference: {stale}\n"


def test_the_order_is_by_path_then_component_whatever_the_order_of_the_description() -> None:
    def shuffled(node: Any, chance: random.Random) -> Any:
        if isinstance(node, dict):
            items = list(node.items())
            chance.shuffle(items)
            return {key: shuffled(value, chance) for key, value in items}
        return [shuffled(value, chance) for value in node] if isinstance(node, list) else node

    raw = published()
    for apply, _ in list(CHANGES.values())[:9]:
        apply(raw)
    raw["paths"]["/a"] = raw["paths"]["/z"] = {"put": {}, "get": {}}
    first = unexplained(raw)
    assert first[:2] == ["GET /a: new there", "PUT /a: new there"]
    assert first.index("GET /z: new there") > first.index(f"DELETE {PARCELS}: not there")
    for seed in range(5):
        assert unexplained(shuffled(raw, random.Random(seed))) == first
    fields(raw, "Depot").update(b={"type": "string"}, a={"type": "string"})
    assert unexplained(raw)[-2:] == ["Depot.a: new there (string)", "Depot.b: new there (string)"]


@pytest.mark.parametrize("form", ["json", "yaml"])
@pytest.mark.parametrize("where", ["a file", "a URL", "a URL that moved"])
def test_json_and_yaml_are_read_from_files_and_urls(
    where: str, form: str, tmp_path: Path, service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = published()
    listing(raw)["parameters"].pop(0)
    if form == "yaml":  # statuses are numbers, as people write them
        for item in raw["paths"].values():
            for method in item.keys() - {"parameters"}:
                answers = item[method]["responses"]
                item[method]["responses"] = {int(s): answer for s, answer in answers.items()}
    text = (json.dumps(raw, indent="\t") if form == "json" else yaml.safe_dump(raw)).encode()
    source = str(tmp_path / "published")
    Path(source).write_bytes(text)
    if where != "a file":
        source = f"{service.url}/published" if where == "a URL" else f"{service.url}/old"
        service.on("GET /published", Answer(text))
        moved = {"Location": f"{service.url}/published"}
        service.on("GET /old", Answer(status=301, headers=moved))
    assert main([source, *PAIR]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "GET /depots: query parameter open: not there"
    assert lines[-1].startswith("unexplained: 1; ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "can't be read: No such file or directory"),
        (b"{", "is neither JSON nor YAML"),
        (b"\x00\xff", "is neither JSON nor YAML"),
        (b"[" * 100_000, "is neither JSON nor YAML"),
        (b"", "is not an OpenAPI description: it has no paths"),
        (b"<html><body>Sign in</body></html>", "is not an OpenAPI description: it has no paths"),
        (b'{"openapi": "3.0.3", "paths": []}', "is not an OpenAPI description: it has no paths"),
        (b'{"swagger": "2.0", "paths": {}}', "is not a description in OpenAPI 3"),
        (
            b'{"openapi": "3.0.3", "paths": {"/depots": {"get": []}}}',
            "is malformed: AttributeError: 'list' object has no attribute 'get'",
        ),
    ],
)
def test_bad_input_is_one_clear_line_and_status_2(
    text: bytes | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "published"
    if text is not None:
        source.write_bytes(text)
    assert main([str(source), *PAIR]) == 2
    assert capsys.readouterr() == ("", f"drift: {source}: {message}\n")


def test_a_url_that_does_not_answer_is_one_clear_line(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([f"{service.url}/nowhere", *PAIR]) == 2
    message = f"drift: {service.url}/nowhere: can't be read: the server returned status 404\n"
    assert capsys.readouterr() == ("", message)
    assert main([f"{NOBODY}/published", *PAIR]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"drift: {NOBODY}/published: can't be read: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "Because.\n\n```drift\nX: y\n```\n",
            "line 3: the block needs a reason with its letter above it",
        ),
        ("Because. (S)\n\n```drift\nX: y\n", "the last block has no end"),
    ],
)
def test_a_record_without_reasons_is_rejected(
    text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = tmp_path / "record.md"
    record.write_text(text, encoding="utf-8")
    arguments = [str(DATA / "published.json"), *PAIR, "--record", str(record)]
    assert main(arguments) == 2
    assert capsys.readouterr().err == f"drift: {record}: {message}\n"


def test_nothing_that_is_published_can_steer_the_terminal() -> None:
    raw = published()
    raw["components"]["schemas"]["Zone"]["enum"].append("\x1b[2J\nok")
    assert unexplained(raw) == ["Zone: value \\x1b[2J\\nok: new there"]


def test_our_own_description_and_record_are_understood(tmp_path: Path) -> None:
    ours = Spec(ROOT / "openapi" / "htc.yaml")
    published = tmp_path / "published.json"
    published.write_text(json.dumps(ours.raw, default=str), encoding="utf-8")
    assert compare(load(str(published)), ours) == []
    record = (ROOT / "openapi" / "PROVENANCE.md").read_text(encoding="utf-8")
    lines = [line.line for line in read_record(record)]
    assert lines
    assert len(lines) == len(set(lines))


def test_it_is_a_command() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "codegen.drift", str(DATA / "published.json"), *PAIR],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == "unexplained: nothing; recorded in record.md: 21\n"
