"""nnU-Net's trainer within a budget of compute time, as every method of the leaderboard has it.

``nnUNetv2_train ... -tr BudgetTrainer`` finds it by ``nnUNet_extTrainer=benchmarks/nnunet_trainer``; it needs nnU-Net's
environment and nothing of braincli. ``benchmarks/nnunet.py`` sets ``BRAINCLI_MINUTES`` (and ``BRAINCLI_THREADS``).
"""

from __future__ import annotations

import json
import os
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer


class BudgetTrainer(nnUNetTrainer):
    """Network, loss, augmentation and optimiser are nnU-Net's; the learning rate falls over the budget as it otherwise
    falls over 1,000 epochs (initial_lr (1 - spent)^0.9), and the last weights are kept.

    Beside them lies ``facts.json``: version, parameters, iterations, batch, and minutes spent (CPU time on a CPU, wall
    time on a GPU).
    """

    def __init__(  # nnU-Net reads the names of these arguments
        self, plans: dict[str, Any], configuration: str, fold: int, dataset_json: dict[str, Any], device: torch.device
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        if threads := os.environ.get("BRAINCLI_THREADS"):
            torch.set_num_threads(int(threads))

    def run_training(self) -> None:
        budget = 60 * float(os.environ["BRAINCLI_MINUTES"])
        clock = time.process_time if self.device.type == "cpu" else time.perf_counter
        begin, iterations, losses, spent = clock(), 0, [], 0.0
        self.on_train_start()
        self.network.train()
        while spent < budget:
            for group in self.optimizer.param_groups:
                group["lr"] = self.initial_lr * (1 - spent / budget) ** 0.9
            losses.append(float(self.train_step(next(self.dataloader_train))["loss"]))
            iterations, spent = iterations + 1, clock() - begin
            if iterations % 10 == 0:
                self.print_to_log_file(f"iteration {iterations}, loss {sum(losses[-10:]) / 10:.4f}, {spent:.0f} s")
        facts = {
            "version": version("nnunetv2"), "iterations": iterations, "minutes": round(spent / 60, 2),
            "batch": self.batch_size, "patch": [int(side) for side in self.configuration_manager.patch_size],
            "parameters": sum(p.numel() for p in self.network.parameters()), "device": self.device.type,
        }  # fmt: skip
        (Path(self.output_folder) / "facts.json").write_text(json.dumps(facts), encoding="utf-8")
        self.on_train_end()

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """Nothing: the cases that judge are predicted afterwards, and no time is spent on those that trained."""
