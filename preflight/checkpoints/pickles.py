"""Whether torch would load a file of a checkpoint, as the trainer asks it to: `weights_only`. Nothing is unpickled: the opcodes are read.
What is allowed is that of torch 2.13 (torch/_weights_only_unpickler.py) and of transformers 5.16 (trainer_pt_utils.safe_globals)."""

import pickletools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

LARGEST = 32 << 20  # bytes of pickle in one file: an optimizer of 448 LoRA tensors has 0.1 MiB, its numbers lie elsewhere
LEGACY_PICKLES = 5  # magic number, version, system, the object, its storages: what torch.save wrote before it wrote zip files
MAGIC = 0x1950A86A20F9469CFC6C
OPCODES = frozenset(
    """APPEND APPENDS BINFLOAT BINGET BININT BININT1 BININT2 BINPERSID BINPUT BINUNICODE BUILD EMPTY_DICT EMPTY_LIST EMPTY_SET EMPTY_TUPLE
    GLOBAL LONG1 LONG_BINGET LONG_BINPUT MARK NEWFALSE NEWOBJ NEWTRUE NONE PROTO REDUCE SETITEM SETITEMS SHORT_BINSTRING STOP TUPLE TUPLE1
    TUPLE2 TUPLE3""".split()
)
_KINDS = "BFloat16 Bool Byte Char Double Float Half Int Long Short".split()
_SPARSE = "BFloat16 Byte Char Double Float Half Int Long Short".split()
_TYPES = """bfloat16 bits16 bits1x8 bits2x4 bits4x2 bits8 bool complex128 complex32 complex64 float16 float32 float4_e2m1fn_x2 float64
    float8_e4m3fn float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz float8_e8m0fnu qint32 qint8 quint2x4 quint4x2 quint8""".split()
_REBUILD = """device_tensor_from_cpu_tensor device_tensor_from_numpy meta_tensor_no_storage nested_tensor parameter parameter_with_state
    qtensor sparse_tensor tensor tensor_v2 tensor_v3 wrapper_subclass""".split()
GLOBALS = frozenset(
    [
        *("_codecs.encode", "builtins.bytearray", "builtins.complex", "builtins.set", "collections.Counter", "collections.OrderedDict"),
        *("torch.Size", "torch.Tensor", "torch.device", "torch.nn.parameter.Parameter", "torch.serialization._get_layout"),
        *("torch.storage.TypedStorage", "torch.storage.UntypedStorage", "torch._tensor._rebuild_from_type_v2"),
        *("torch.per_channel_affine", "torch.per_channel_affine_float_qparams", "torch.per_channel_symmetric"),
        *("torch.per_tensor_affine", "torch.per_tensor_symmetric"),
        *(f"torch.{place}{kind}{what}" for place in ("", "cuda.") for kind in _KINDS for what in ("Storage", "Tensor")),
        *(f"torch.{place}Complex{kind}Storage" for place in ("", "cuda.") for kind in ("Double", "Float")),
        *(f"torch.{place}{kind}Tensor" for place in ("sparse.", "cuda.sparse.") for kind in _SPARSE),
        *(f"torch.{kind}Storage" for kind in ("QInt32", "QInt8", "QUInt2x4", "QUInt4x2", "QUInt8")),
        *(f"torch.{kind}" for kind in _TYPES),
        *(f"torch.{sign}int{bits}" for sign in ("", "u") for bits in (*range(1, 9), 16, 32, 64)),
        *(f"torch._utils._rebuild_{what}" for what in _REBUILD),
    ]
)
# registered by torch where it is spread over GPUs, and by the 8-bit optimizers of torchao, before a checkpoint is read
REGISTERED = frozenset(
    [
        *("torch.distributed.device_mesh.DeviceMesh", "torch.distributed.tensor.DTensor"),
        *("torch.distributed.tensor._dtensor_spec.DTensorSpec", "torch.distributed.tensor._dtensor_spec.TensorMeta"),
        *(f"torch.distributed.tensor.placement_types.{kind}" for kind in ("Partial", "Replicate", "Shard")),
        *("torchao.optim.subclass_4bit.OptimState4bit", "torchao.optim.subclass_8bit.OptimState8bit", "torchao.optim.subclass_fp8.OptimStateFp8"),
    ]
)
NUMPY = frozenset(["numpy._core.multiarray._reconstruct", "numpy.ndarray", "numpy.dtype", "numpy.dtypes.UInt32DType"])  # for rng_state alone


def read_pickle_problem(path: Path) -> str:
    """Why torch would refuse the file, or ''. Raises OSError."""
    allowed = GLOBALS | REGISTERED | (NUMPY if path.name.startswith("rng_state") else frozenset())
    try:
        if not zipfile.is_zipfile(path):
            with path.open("rb") as file:
                return _legacy_problem(file, allowed)
        with zipfile.ZipFile(path) as archive:
            pickles = [entry for entry in archive.infolist() if entry.filename.rpartition("/")[2] == "data.pkl"]
            if any(entry.file_size > LARGEST for entry in pickles):
                return "its pickle is too large to be one of a trainer's"
            if not pickles or any("constants.pkl" in name for name in archive.namelist()):
                return "it is no file of torch.save"
            for entry in pickles:
                with archive.open(entry) as file:
                    if problem := next(_problems(file, allowed), ""):
                        return problem
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        return f"not a complete archive: {error}"
    except (ValueError, IndexError, OverflowError) as error:  # of pickletools, for what is no pickle
        return f"its pickle is damaged: {str(error)[:80]}"
    return ""


def _legacy_problem(file: IO[bytes], allowed: frozenset[str]) -> str:
    magic = next((value for opcode, value, _ in pickletools.genops(file) if opcode.name == "LONG1"), 0)
    if magic != MAGIC:
        return "it is no file of torch.save"
    for _ in range(LEGACY_PICKLES - 1):
        if problem := next(_problems(file, allowed), ""):
            return problem
    return ""


def _problems(file: IO[bytes], allowed: frozenset[str]) -> Iterator[str]:
    """What torch would refuse in one pickle, which is read up to its end. Raises ValueError for what is none."""
    for opcode, value, _ in pickletools.genops(file):
        if opcode.name == "GLOBAL" and (name := str(value).replace(" ", ".", 1).replace("__builtin__.", "builtins.")) not in allowed:
            yield f"it names {name}, which torch refuses to load: it could run code"
        elif opcode.name not in OPCODES:
            yield f"it holds the pickle opcode {opcode.name}, which torch refuses to load: it could run code"
