"""What each key of a config is about, where that decides something: the one table of it.

A key in none of these sets is the experiment: a resumed run may not change it, and no layer of the kit may.
"""

# together, how many sequences an optimizer step holds
STEP_KEYS = ("micro_batch_size", "gradient_accumulation_steps")
# how a step is computed: all that a GPU tier may change, and what a resumed run may change too
TIER_KEYS = frozenset(
    """micro_batch_size eval_batch_size bf16 fp16 tf32 accelerator_config attn_implementation sdpa_varlen overrides_of_model_config
    gradient_checkpointing gradient_checkpointing_kwargs activation_offloading fp8_frozen_weights stack_lora_products cuda_graphs
    lora_mlp_kernel lora_qkv_kernel lora_o_kernel plugins
    liger_rope liger_rms_norm liger_glu_activation liger_fused_linear_cross_entropy
    dataloader_num_workers dataloader_pin_memory dataloader_prefetch_factor dataset_num_proc""".split()
)
# how the work is shared out among GPUs: what the overlay of an engine may change
SCALE_KEYS = frozenset(
    """ddp_find_unused_parameters ddp_timeout ddp_bucket_cap_mb ddp_broadcast_buffers fsdp_version fsdp_config deepspeed
    use_ray ray_num_workers ray_run_name resources_per_worker world_size""".split()
)
# what is written down, when and where: a resumed run may change these as well
LOGGING_AND_SAVE_KEYS = frozenset(
    """logging_steps save_steps saves_per_epoch save_strategy save_total_limit save_first_step eval_steps evals_per_epoch eval_strategy
    output_dir resume_from_checkpoint auto_resume_from_checkpoints use_tensorboard device answer_marker""".split()
)
# what a resumed run may change; what is left is the experiment, and names a run that `--set` begins
MAY_CHANGE = TIER_KEYS | LOGGING_AND_SAVE_KEYS | SCALE_KEYS | {*STEP_KEYS, "dataset_prepared_path"}
# what a step's time depends on beside the GPU; of a config that differs in any of them a record of seconds says nothing
THROUGHPUT_KEYS = (TIER_KEYS - {"plugins", "dataset_num_proc", "eval_batch_size"}) | frozenset(
    """micro_batch_size gradient_accumulation_steps base_model sequence_len sample_packing adapter load_in_4bit lora_r lora_dropout
    lora_target_modules lora_target_linear optimizer torch_compile""".split()
)
