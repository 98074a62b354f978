"""Which cloud this is, and what only its notebook's kernel can do."""

import pytest

from preflight.machine.platforms import PLATFORMS, detect_platform
from preflight.machine.platforms.colab import Colab
from preflight.machine.platforms.local import Local


@pytest.mark.parametrize("name", Colab().variables)
def test_colab_is_told_from_what_its_runtimes_set(name):
    platform, reason = detect_platform({name: ""})
    assert platform.name == "colab"
    assert name in reason


def test_colab_gpu_says_nothing():
    platform, reason = detect_platform({"COLAB_GPU": "1"})
    assert platform.name == "local"
    assert reason == "none of COLAB_RELEASE_TAG, COLAB_BACKEND_VERSION, COLAB_JUPYTER_IP is set"


def test_the_last_platform_takes_what_is_left():
    assert PLATFORMS[-1].variables == ()
    assert all(platform.variables for platform in PLATFORMS[:-1])


def test_a_machine_that_is_no_cloud_has_nothing_to_mount_read_or_hand_back(tmp_path):
    local = Local()
    assert "not Colab" in local.mount(str(tmp_path / "drive"), [])
    assert not (tmp_path / "drive").exists()
    with pytest.raises(LookupError, match="set the variable HF_TOKEN"):
        local.read_secret("HF_TOKEN")
    with pytest.raises(RuntimeError, match="not rented"):
        local.hand_back()


@pytest.mark.parametrize(("secret", "says"), [(None, "SecretNotFoundError"), ("  \n", "it is empty")])
def test_a_secret_that_is_none(monkeypatch, google_colab, secret, says):
    if secret is not None:
        monkeypatch.setenv("FAKE_SECRET", secret)
    with pytest.raises(LookupError, match=says):
        Colab().read_secret("HF_TOKEN")


def test_blanks_around_a_secret_are_not_part_of_it(monkeypatch, google_colab):
    monkeypatch.setenv("FAKE_SECRET", " hf_abc \n")
    assert Colab().read_secret("HF_TOKEN") == "hf_abc"
