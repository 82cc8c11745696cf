"""A plan names no file, and no class but the experiment's and OpenFL's."""

import pytest
import yaml

from superb_node.approval.plan import fault_of_plan

PLAN = {
    "aggregator": {"template": "superb_ks.aggregator.aggregator.PackedAggregator", "settings": {"rounds": 3}},
    "network": {"template": "openfl.federation.Network", "settings": {"defaults": None}},
    "api_layer": {
        "required_plugin_components": {"serializer_plugin": "openfl.plugins.x.CloudpickleSerializer"}
    },
}


def test_a_plan_as_the_notebook_writes_it() -> None:
    assert fault_of_plan(yaml.safe_dump(PLAN).encode()) == ""


@pytest.mark.parametrize(
    ("section", "fault"),
    [
        (
            {"template": "subprocess.Popen", "settings": {"args": ["touch", "x"]}},
            "it names 'subprocess.Popen'",
        ),
        ({"settings": [{"deep": {"template": "os.system"}}]}, "it names 'os.system'"),
        ({"required_plugin_components": {"framework_adapters": "builtins.eval"}}, "it names 'builtins.eval'"),
        ({"defaults": "/etc/passwd"}, "it reads the file '/etc/passwd'"),
        ({"settings": {"defaults": ["a"]}}, "it reads the file"),
    ],
)
def test_what_it_may_not_name(section: dict, fault: str) -> None:
    assert fault_of_plan(yaml.safe_dump({**PLAN, "collaborator": section}).encode()).startswith(fault)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"a: !!python/object/apply:os.system [x]", "it is not plain YAML: ConstructorError"),
        (b"a: [", "it is not plain YAML: ParserError"),
        (b"[" * 30_000, "it is not plain YAML: RecursionError"),
        (b"\xff", "it is not plain YAML"),
        (b"- a", "it has no sections"),
        (b"", "it has no sections"),
    ],
)
def test_what_is_no_plan(content: bytes, fault: str) -> None:
    assert fault_of_plan(content).startswith(fault)


def test_a_plan_that_repeats_itself_is_looked_at_once() -> None:
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60))]
    assert fault_of_plan("\n".join(lines).encode()) == ""
