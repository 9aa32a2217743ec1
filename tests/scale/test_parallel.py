"""Four processes: tensor parallelism, shards of it, replicas of shards. Each parameter gradient against one process, the whole batch, float64, written out."""

from typing import Any

import pytest

from tests import limits
from tests.scale import parallel
from tests.scale.spawn import spawned

pytestmark = pytest.mark.study  # four processes on two cores take a minute; test_matrix.py has replicas, shards and tensor parallelism on two
EXACT = {"double_backward", "reverse_over_forward", "auto"}


@pytest.fixture(scope="module")
def everybody(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of the four found."""
    return spawned("tests.scale.parallel", tmp_path_factory.mktemp("ranks"), parallel.RANKS, limit=limits.PARALLEL)


def check(errors: dict[str, Any]) -> None:
    assert "double_backward" in errors, errors
    for engine, error in errors.items():
        assert isinstance(error, float), error
        assert error < (1e-10 if engine in EXACT else 1e-8), (engine, error)


@pytest.mark.parametrize("style", ["megatron, GELU", "megatron, ReLU", "sequences, GELU", "sequences, ReLU"])
def test_tensor_parallelism(everybody: list[dict[str, Any]], style: str) -> None:
    for found in everybody:
        check(found["tensor_parallel"][style])


def test_torchs_own_double_backward_is_cut_off_there(everybody: list[dict[str, Any]]) -> None:
    """The canary: the day that torch mends it, our substitute is not needed."""
    for found in everybody:
        assert found["torchs_own"]["whole"] > 1e-2
        assert found["torchs_own"]["term"] > 1e-1


def test_parameters_are_put_together_once_a_step(everybody: list[dict[str, Any]]) -> None:
    """However many passes it takes; and each gradient goes back once."""
    for found in everybody:
        gathered, reduced, parameters = found["gathers"]
        assert gathered == reduced == parameters


@pytest.mark.parametrize("way", ["an_output_in_parts", "split_and_sharded", "a_divisor_of_its_own", "kept_lists_and_shared_weights", "accumulated"])
def test_shards(everybody: list[dict[str, Any]], way: str) -> None:
    for found in everybody:
        check(found[way])


def test_replicas_of_shards(everybody: list[dict[str, Any]]) -> None:
    """Fused attention has no forward-mode derivative, so that "auto" goes on to the double backward of whole parameters."""
    for found in everybody:
        errors = dict(found["replicas_of_shards"])
        assert "scaled_dot_product_flash_attention_for_cpu has no such derivative here" in errors.pop("reverse_over_forward")
        check(errors)


def test_explained_and_then_trained(everybody: list[dict[str, Any]]) -> None:
    for found in everybody:
        assert found["explained"]["serves"]["double_backward"] == "exactly"
        assert found["explained"]["serves"]["reverse_over_forward"] == "not supported"
        assert found["explained"]["serves"]["finite_difference"] == "approximately"
        assert found["explained"]["taken"] == "double_backward"
        assert found["explained"]["untouched"]
        assert found["explained"]["after"] < 1e-10


def test_torchs_own_entry_is_refused(everybody: list[dict[str, Any]]) -> None:
    for found in everybody:
        assert "call it as DTensor.from_local" in found["a_kept_reference"]


def test_parameters_on_another_device_are_refused(everybody: list[dict[str, Any]]) -> None:
    for found in everybody:
        assert "CPUOffloadPolicy has them where the model does not compute" in found["offloaded"]["double_backward"]
        assert found["offloaded"]["finite_difference"] < 1e-8


def test_processes_that_split_a_model_must_see_the_same(everybody: list[dict[str, Any]]) -> None:
    for found in everybody:
        told = found["disagreement"]
        assert told["all alike"] == told["other states, nothing drawn"] == []
        for way in ("other inputs", "in another order", "other targets"):
            (text,) = told[way]
            assert "the 4 processes that split Transformer between them (tensor parallelism) see different batches" in text
        (text,) = told["other draws"]
        assert "draw different ones" in text


def test_operators_and_fields(everybody: list[dict[str, Any]]) -> None:
    for found in everybody:
        assert found["derivatives_by_hand"].keys() == {"split", "sharded"}
        assert max(found["derivatives_by_hand"].values()) < 1e-10


def test_gradients_that_are_kept_back_are_not_lost(everybody: list[dict[str, Any]]) -> None:
    for found in everybody:
        assert "gradients of an earlier pass are kept back in them" in found["kept_back"]


def test_processes_whose_inputs_have_other_lengths(everybody: list[dict[str, Any]]) -> None:
    assert all(found["of_other_lengths"] == {"auto": True, "double_backward": True, "finite_difference": True} for found in everybody)


def test_a_term_that_is_zero_on_some_processes(everybody: list[dict[str, Any]]) -> None:
    for found in everybody:
        check(found["zero_on_one_process"])


def test_reentrant_checkpoints_in_a_sharded_model_are_refused(everybody: list[dict[str, Any]]) -> None:
    for found in everybody:
        assert "Use checkpoint(..., use_reentrant=False)" in found["reentrant"]
