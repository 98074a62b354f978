"""The keys that the kit adds to Axolotl's."""

from typing import Literal

from pydantic import BaseModel, Field


class KitArgs(BaseModel):
    """Read by the kit's plugin alone."""

    answer_marker: str | None = Field(
        default=None,
        description="What ends the question in rows of one text, where none of the usual markers does, such as `-- SQL`. Preflight and the evaluation "
        "split there; training does not change.",
    )
    fp8_frozen_weights: bool | Literal["kept"] | None = Field(
        default=None,
        description="Multiply with the frozen 4-bit weights in 8 bits (e4m3), on a GPU of compute capability 8.9 or later. `true` unpacks them for each product; `kept` keeps two copies of each, 13 GiB more for a 7B. "
        "The adapter, the loss and evaluations stay bf16. Needs the LoRA kernels.",
    )
    stack_lora_products: bool | None = Field(
        default=None,
        description="Multiply an input with the LoRA matrices of all its projections at once, and add what comes of it while the layer's values pass "
        "through the GPU anyway. Works in the LoRA kernels; without them, or with DoRA, it changes nothing.",
    )
    cuda_graphs: bool | None = Field(
        default=None,
        description="Start the layers' kernels as one CUDA graph, captured at the first step: pays where Python holds the GPU up, with "
        "`fp8_frozen_weights: kept` and on several GPUs (ddp). Needs packed rows, one batch a step (gradient_accumulation_steps: 1) and no "
        "gradient checkpointing.",
    )
