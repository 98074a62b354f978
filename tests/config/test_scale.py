import itertools
import json
from pathlib import Path

import pytest
import yaml

from preflight.checkpoints.identity import run_fingerprint
from preflight.config.keys import SCALE_KEYS
from preflight.config.layers import Config, with_changes
from preflight.config.scale import (
    ENGINES,
    Scale,
    check_engine,
    check_gpus,
    check_host_memory,
    check_nccl,
    check_overlay,
    check_step,
    read_overlay,
    scale_changes,
)
from preflight.config.values import step_size
from preflight.config.yaml_file import YamlFile, read_yaml
from preflight.files import CONFIGS
from preflight.launch.command import check_shared, launch_commands, launch_variables
from preflight.machine.environment import Environment
from preflight.machine.gpu import Gpu
from tests.conftest import CHECKOUT

SHIPPED = ["mistral_qlora", "mistral_qlora_chat", "mistral_qlora_instruct", "mistral_qlora_padded", "smoke"]
H100 = Gpu(name="NVIDIA H100 80GB HBM3", memory_gib=79.6, compute_capability=(9, 0))
A100 = Gpu(name="NVIDIA A100-SXM4-40GB", memory_gib=39.6, compute_capability=(8, 0))
GPUS = [[H100.name, H100.memory_gib, [9, 0]]] * 4
SAVES = ["--set", "save_steps=10", "--set", "eval_steps=10"]


def config(name="mistral_qlora", **values):
    file, _ = read_yaml(CONFIGS / f"{name}.yaml")
    return Config(file=file, values=dict(file.values) | values)


def spread(name, engine, world, **values):
    before = config(name, **values)
    overlay, _ = read_overlay(engine)
    return before, with_changes(before, scale_changes(before, overlay, Scale(engine=engine, gpus_per_node=world), step_size(before.values)))[0]


@pytest.mark.parametrize("engine", ENGINES)
def test_an_overlay_changes_how_the_work_is_shared_and_nothing_else(engine):
    overlay, findings = read_overlay(engine)
    assert findings == check_overlay(overlay) == []
    assert overlay.values.keys() <= SCALE_KEYS
    (finding,) = check_overlay(YamlFile(path=overlay.path, values={"learning_rate": 1}, lines={}))
    assert finding.code == "config.not-for-a-tier"


@pytest.mark.parametrize(("micro", "accumulation", "world"), list(itertools.product((1, 2, 4), (1, 3, 4), (1, 2, 3, 4, 6, 8))))
def test_a_step_holds_what_the_user_said_or_it_is_refused(micro, accumulation, world):
    before, after = spread("mistral_qlora", "ddp", world, micro_batch_size=micro, gradient_accumulation_steps=accumulation)
    step = micro * accumulation
    refused = check_step(before, Scale(engine="ddp", gpus_per_node=world), step)
    if step % world:
        (finding,) = refused
        assert finding.code == "scale.uneven"
        assert str(step) in finding.message
        assert step_size(after.values) > step
    else:
        assert refused == []
        assert step_size(after.values) == step
        assert after.values["micro_batch_size"] <= micro


def test_an_uneven_step_names_the_numbers_and_the_steps_that_come_out():
    (finding,) = check_step(config(), Scale(engine="ddp", gpus_per_node=3), 4)
    assert "use 1, 2, 4 GPUs" in finding.fix
    assert "micro_batch_size=3" in finding.fix
    assert "micro_batch_size=6" in finding.fix


def test_checkpoints_go_on_under_another_engine_only_where_that_works():
    plain = run_fingerprint(config().values)
    assert run_fingerprint(spread("mistral_qlora", "ddp", 2)[1].values) == plain
    assert run_fingerprint(spread("mistral_qlora", "ray", 4)[1].values) == plain
    fsdp, deepspeed = (run_fingerprint(spread("mistral_qlora", engine, 2)[1].values) for engine in ("fsdp2", "deepspeed_zero2"))
    assert fsdp != plain
    assert fsdp != deepspeed
    assert fsdp == run_fingerprint(spread("mistral_qlora", "fsdp2", 4)[1].values)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", SHIPPED)
def test_every_overlay_passes_axolotls_own_validation_with_every_config(axolotl, engine, name):
    _, after = spread(name, engine, 2)
    values = {key: value for key, value in after.values.items() if key != "device"} | {"bf16": name != "smoke"}
    answer = axolotl.ask("validate", values=values, capability=90, gpus=2)
    assert answer["error"] == ""
    for key in read_overlay(engine)[0].values:
        kept, asked = answer["values"][key], after.values[key]
        assert kept == asked or asked.items() <= kept.items(), key


@pytest.mark.parametrize("engine", ["ddp", "fsdp2"])
def test_the_steps_are_those_of_one_gpu(preflight, engine):
    """Also as Axolotl counts them: it multiplies the batch by the processes, and preflight divides it by as many."""
    one = preflight("--gpu", "h100", "--data", "sample_data", *SAVES, "--json").json
    for world in (2, 4):
        many = preflight("--gpu", "h100", "--data", "sample_data", *SAVES, "--scale", engine, "--gpus-per-node", world, "--json").json
        for key in ("steps", "tokens", "tokens_per_step", "examples_per_step", "saves", "warmup_steps"):
            assert many["plan"][key] == one["plan"][key], key
        assert many["plan"]["memory_gib"] < one["plan"]["memory_gib"]
        assert many["plan"]["seconds_per_step"]["low"] >= 0.99 * one["plan"]["seconds_per_step"]["low"] / world, "better than perfect scaling"
        assert many["plan"]["compute_units"]["low"] is None, "Colab rents no machine of several GPUs"


def commands(engine, nodes=1, gpus=2):
    wanted = Scale(engine=engine, nodes=nodes, gpus_per_node=gpus, head="first")
    made = launch_commands(Environment(accelerate=None), Path("runs/x/config.yaml"), True, wanted)
    return [(command.where, command.argv) for command in made]


def test_the_launcher_is_the_engines_own():
    ((where, command),) = commands("ddp")
    assert where == "this machine"
    assert command[:4] == ("accelerate", "launch", "--multi_gpu", "--num_processes")
    assert command[-3:] == ("-m", "axolotl.cli.train", "runs/x/config.yaml")
    ((_, alone),) = commands("fsdp2", gpus=1)
    assert alone[:3] == ("torchrun", "--standalone", "--nproc_per_node=1")
    ((where, several),) = commands("fsdp2", nodes=3)
    assert where == "each of the 3 machines"
    assert {"--nnodes=3", "--nproc_per_node=2", "--rdzv_endpoint=first:29400", "--rdzv_backend=c10d", "--rdzv_id=x"} <= set(several)
    assert [command[:2] for _, command in commands("ray")] == [("axolotl", "train")]
    assert [(where, command[1]) for where, command in commands("ray", nodes=2)] == [
        ("this machine", "start"),
        ("the other", "start"),
        ("this machine", "train"),
    ]
    assert commands("ray", nodes=2)[-1][1][-1] == "--ray-num-workers=4"


def test_a_worker_of_ray_starts_where_the_paths_lead_somewhere_and_reports_nothing():
    """Without the first, the worker looked for sample_data/smoke_base in a folder of Ray's own, then at the hub (Ray 2.60, 2026-11-25)."""
    overlay, _ = read_overlay("ray")
    variables = launch_variables(config("smoke", **overlay.values), local_rows=True)
    assert (variables["RAY_CHDIR_TO_TRIAL_DIR"], variables["RAY_USAGE_STATS_ENABLED"]) == ("0", "0")
    assert variables["PYTHONPATH"] == str(CHECKOUT), "or Axolotl's script would train without the kit's plugin, and say so in a traceback only"
    assert not any(name.startswith("RAY_") for name in launch_variables(config("smoke"), local_rows=True))


def test_without_a_number_it_is_the_gpus_that_are_here(preflight):
    ran = preflight("axolotl_configs/smoke.yaml", "--set", "device=null", "--set", "micro_batch_size=4", "--scale", "ddp", "--json", gpus=GPUS)
    assert {change["key"]: change["value"] for change in ran.json["changes"] if change["layer"] == "scale ddp"}["world_size"] == 4


def test_accelerate_takes_the_flags_that_are_printed():
    """Its own parser: a flag that it does not know, or two that it refuses together, would stop a night's run."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser

    ((_, command),) = commands("ddp")
    args, *_ = _validate_launch_command(launch_command_parser().parse_args([*command[2:]]))
    assert (args.num_processes, args.num_machines, args.multi_gpu) == (2, 1, True)


def test_a_packages_absence_is_said_with_the_command_that_installs_it():
    assert check_engine(Scale(engine="ddp"), frozenset()) == []
    (finding,) = check_engine(Scale(engine="deepspeed_zero2"), frozenset(["torch"]))
    assert "deepspeed>=0.18.6,<0.19" in finding.fix
    assert check_engine(Scale(engine="ray"), frozenset(["ray"])) == []


def test_gpus_that_are_too_few_or_differ():
    assert check_gpus(Scale(engine="ddp", gpus_per_node=2), [H100, H100]) == []
    assert [finding.code for finding in check_gpus(Scale(engine="ddp", gpus_per_node=4), [H100, H100])] == ["scale.too-few-gpus"]
    (finding,) = check_gpus(Scale(engine="ddp", gpus_per_node=3), [H100, A100, H100])
    assert finding.code == "scale.mixed-gpus"
    assert "CUDA_VISIBLE_DEVICES=0,2 and --gpus-per-node 2" in finding.fix
    assert check_gpus(Scale(engine="ddp", gpus_per_node=1), [H100, A100]) == []


@pytest.mark.parametrize(
    ("variables", "nodes", "says"),
    [
        ({}, 2, None),
        ({"TORCH_NCCL_ASYNC_ERROR_HANDLING": "0"}, 1, "the others hang"),
        ({"TORCH_NCCL_ASYNC_ERROR_HANDLING": "1"}, 1, None),
        ({"CUDA_LAUNCH_BLOCKING": "1"}, 1, "can deadlock"),
        ({"NCCL_SOCKET_IFNAME": "lo"}, 2, "does not reach another machine"),
        ({"NCCL_SOCKET_IFNAME": "lo"}, 1, None),
        ({"NCCL_SOCKET_IFNAME": "ib0"}, 2, "no such interface"),
        ({"NCCL_SOCKET_IFNAME": "eth"}, 2, None),
        ({"NCCL_SOCKET_IFNAME": "^docker"}, 2, None),
    ],
)
def test_variables_that_make_a_run_hang(variables, nodes, says):
    found = check_nccl(variables, frozenset(["lo", "eth0"]), Scale(engine="ddp", nodes=nodes, gpus_per_node=2))
    assert [finding.code for finding in found] == ["scale.hangs"] * bool(says)
    assert not says or says in found[0].message


def test_memory_of_the_machine_and_the_folder_that_has_to_be_shared(tmp_path):
    assert check_host_memory(Scale(engine="ddp", gpus_per_node=2), 100) == []
    (finding,) = check_host_memory(Scale(engine="ddp", gpus_per_node=8), 24)
    assert "--gpus-per-node 4" in finding.fix
    assert check_shared(Scale(engine="ddp"), tmp_path) == []
    (finding,) = check_shared(Scale(engine="ddp", nodes=2), tmp_path)
    assert f"test -f {tmp_path}/config.yaml" in finding.fix


def test_a_spread_run_ends_with_what_to_type_on_each_machine(preflight, tmp_path):
    rows = tmp_path / "rows"
    rows.mkdir()
    for name in ("train", "val"):
        (rows / f"{name}_postgres.jsonl").write_text("".join(json.dumps({"text": f"{name} {i} SELECT {i};" * 9}) + "\n" for i in range(600)))
    arguments = ["--data", rows, "--set", f"base_model={tmp_path}", *SAVES, "--scale", "ddp", "--nodes", "2", "--gpus-per-node", "2", "--head", "one"]
    ran = preflight(*arguments, "--json", gpus=GPUS)
    wrong = {finding["code"] for finding in ran.json["findings"] if finding["level"] == "error"}
    assert wrong <= {"packages.mismatch", "config.no-base-model"}, "the machine of the tests has no model of 7B"
    planned = preflight(*arguments, "--gpu", "h100", "--json").json
    assert {change["key"]: change["value"] for change in planned["changes"] if change["layer"] == "scale ddp"}["world_size"] == 4
    smoke = preflight(
        "axolotl_configs/smoke.yaml", "--set", "device=null", "--scale", "ddp", "--nodes", "2", "--gpus-per-node", "1", "--head", "one", gpus=GPUS
    )
    assert smoke.code == 0, smoke.out
    where, _, command = smoke.out.rpartition("on each of the 2 machines:\n")
    assert "scale.shared-path" in where
    assert "torchrun --nnodes=2 --nproc_per_node=1" in command
    written = yaml.safe_load((tmp_path / "workspace/runs/smoke/config.yaml").read_text())
    assert (written["world_size"], written["micro_batch_size"]) == (2, 1)


def test_a_config_for_a_cpu_is_not_spread(preflight):
    ran = preflight("axolotl_configs/smoke.yaml", "--scale", "ddp", "--gpus-per-node", "2", "--json")
    assert (ran.code, ran.codes) == (1, ["scale.needs-gpus"])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--nodes", "2"], "go with --scale NAME"),
        (["--scale", "horovod"], "invalid choice: 'horovod' (choose from 'ddp'"),
        (["--scale", "ddp", "--nodes", "0"], "a whole number from 1"),
        (["--scale", "ddp", "--gpu", "all"], "not with --gpu all"),
    ],
)
def test_wrong_usage(preflight, arguments, says):
    ran = preflight(*arguments)
    assert ran.code == 2
    assert says in ran.err
