import pytest

from preflight.config.tiers import TIERS, check_expected, check_gpu, nearest_tier, planned_gpu, tier_of
from preflight.machine.gpu import Gpu, GpuReading

# names and memory as NVML gives them (colabtools issues, 2026-08; H100 and H200 seen on 2026-11-23)
SEEN = [
    ("Tesla T4", 14.9, (7, 5), "t4"),
    ("Tesla V100-SXM2-16GB", 15.8, (7, 0), "v100"),
    ("NVIDIA L4", 22.5, (8, 9), "l4"),
    ("NVIDIA A100-SXM4-40GB", 39.6, (8, 0), "a100-40gb"),
    ("NVIDIA A100-SXM4-80GB", 79.3, (8, 0), "a100-80gb"),
    ("NVIDIA H100 80GB HBM3", 79.6, (9, 0), "h100"),
    ("NVIDIA H200", 139.8, (9, 0), "h200"),
    ("NVIDIA RTX PRO 6000 Blackwell Server Edition", 95.0, (12, 0), "rtx-pro-6000"),
]


@pytest.mark.parametrize(("name", "memory", "capability", "tier"), SEEN)
def test_each_gpu_seen_in_colab_has_its_tier(name, memory, capability, tier):
    gpu = Gpu(name=name, memory_gib=memory, compute_capability=capability)
    assert tier_of(gpu).name == tier
    codes = [finding.code for finding in check_gpu(GpuReading(gpus=(gpu,)), tier_of(gpu), needs_gpu=True)]
    assert codes == (["gpu.unsupported"] if tier == "v100" else [])


def test_every_tier_describes_itself():
    assert all(tier_of(planned_gpu(tier)) == tier for tier in TIERS)


@pytest.mark.parametrize(
    ("name", "memory", "capability", "tier"),
    [
        ("NVIDIA L40S", 44.5, (8, 9), "a100-40gb"),
        ("NVIDIA A100-PCIE-20GB", 19.0, (8, 0), "v100"),
        ("GeForce RTX 5090", 31.8, (12, 0), "l4"),
        ("NVIDIA GTX 1660", 5.8, (7, 5), None),
    ],
)
def test_an_unknown_gpu_gets_no_more_than_it_has(name, memory, capability, tier):
    gpu = Gpu(name=name, memory_gib=memory, compute_capability=capability)
    nearest = nearest_tier(gpu)
    assert (nearest and nearest.name) == tier
    (finding,) = check_gpu(GpuReading(gpus=(gpu,)), nearest, needs_gpu=True)
    assert (finding.code, finding.level) == ("gpu.unknown", "warning")


def test_no_gpu_is_an_error_only_where_one_is_needed():
    assert [finding.code for finding in check_gpu(GpuReading(reason="x"), None, needs_gpu=True)] == ["gpu.none"]
    assert check_gpu(GpuReading(reason="x"), None, needs_gpu=False) == []


def test_a_gpu_that_torch_no_longer_runs_on():
    (finding,) = check_gpu(GpuReading(gpus=(Gpu(name="K80", memory_gib=11.2, compute_capability=(3, 7)),)), None, needs_gpu=True)
    assert (finding.code, finding.level) == ("gpu.unsupported", "warning")
    assert "Colab no longer offers it" in finding.message


@pytest.mark.parametrize(
    ("name", "slower"), [("t4", True), ("v100", True), ("l4", True), ("a100-40gb", False), ("a100-80gb", False), ("h100", False)]
)
def test_a_slower_gpu_than_the_plan_was_made_for_is_said_with_what_it_takes(name, slower):
    tier = next(tier for tier in TIERS if tier.name == name)
    findings = check_expected(tier, "a100-40gb", {"t4": 1.19, "a100-40gb": 5.4})
    assert [(finding.code, finding.level) for finding in findings] == ([("gpu.slower-tier", "warning")] if slower else [])
    if name == "t4":
        assert "Tesla T4 takes 1.19 compute units an hour, NVIDIA A100 40 GB takes 5.4" in findings[0].message
