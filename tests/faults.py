"""Plants faults in the code, one at a time, and shows that the tests notice each.

    .venv/bin/python tests/faults.py                     all of them
    .venv/bin/python tests/faults.py forget_split_prior  some, by name
    .venv/bin/python tests/faults.py --list              what there is
    .venv/bin/python tests/faults.py --jobs 4            four at a time

A fault is one entry of FAULTS: a name, a module, a text in it, what that text is replaced by, and the tests that ought
to notice. It is planted in a copy of the checkout, never in the checkout itself. Where the text does not occur exactly
once, where the result is no Python, or where a test fails without any fault, the script says so. It ends with status 0
only if each fault was planted and made a test fail. `tests/test_faults.py` keeps the list in step with the code.
"""
from __future__ import annotations

import argparse
import ast
import json
import multiprocessing
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
SLOW_IMPORTS = ["torch", "torchvision", "cv2", "pandas", "scipy.io", "scipy.ndimage", "sklearn.covariance",
                "sklearn.decomposition", "sklearn.metrics", "sklearn.neighbors", "pytest"]
LEAST_LIMIT = 300  # seconds; the tests of a fault may take so long, or five times what they take without it


class Fault(NamedTuple):
    """One fault, in a module of lib (by its name) or in another file of the checkout (by its path)."""

    name: str
    where: str
    old: str    # occurs once
    new: str
    tests: str  # files below tests/, without "test_" and ".py", the likeliest first

    @property
    def file(self) -> str:
        return self.where if "." in self.where else _only("lib", f"{self.where}.py")

    @property
    def test_files(self) -> list[str]:
        return [_only("tests", f"test_{name}.py") for name in self.tests.split()]


def _only(top: str, name: str) -> str:
    """The one file of that name below a folder of the checkout, whichever room it lies in; where there is none, at its top."""
    found = sorted((ROOT / top).rglob(name))
    return found[0].relative_to(ROOT).as_posix() if len(found) == 1 else f"{top}/{name}"


# Several that concern one place are variants of a mistake that other codebases have made there.
FAULTS = [Fault(*entry) for entry in (
    # Table 1: the autoencoder
    ("decoder_stride_in_time", "itae", "4: (1, 2, 2, 1)", "4: (1, 2, 1, 2)", "itae"),
    ("decoder_strides_in_another_order", "itae", "zip(temporal_strides(self.tau), decoder_strides)",
     "zip(temporal_strides(self.tau), sorted(decoder_strides, reverse=True))", "itae"),
    ("lateral_stride", "itae", "LATERAL_KERNEL, (tau, 1, 1)", "LATERAL_KERNEL, (tau // 2, 1, 1)", "itae"),
    ("lateral_missing_at_conv2", "itae", "self.lateral[i](mot)", "self.lateral[i](mot) * (i != 1)", "itae"),
    ("lateral_kernel", "itae", "LATERAL_KERNEL = (5, 1, 1)", "LATERAL_KERNEL = (3, 1, 1)", "itae"),
    ("skip_connection", "itae", "self.output(joined.float())", "self.output((joined + x).float())", "itae"),
    ("motion_path_sees_every_tau", "itae", "x[:, :, :: self.tau], x\n",
     "x[:, :, :: self.tau], x[:, :, :: self.tau].repeat_interleave(self.tau, dim=2)\n", "itae"),
    ("appearance_path_sees_other_frames", "itae", "x[:, :, :: self.tau], x", "x[:, :, 1 :: self.tau], x", "itae"),
    ("appearance_path_sees_the_first_frames", "itae", "x[:, :, :: self.tau], x",
     "x[:, :, : self.T // self.tau], x", "itae"),
    ("kernels_of_the_paths_swapped", "itae", "app_channels[i], APP_KERNELS[i]",
     "app_channels[i], MOT_KERNELS[i]", "itae"),
    ("last_layer_is_activated", "itae", "after = [] if last else", "after =", "itae"),
    ("features_with_the_lateral", "itae", "return x_app, mot if", "return app, mot if", "itae"),
    ("one_path_gets_the_motion_path", "stage1", "two_path=two_path, **settings",
     "two_path=True, **settings", "loop"),

    # Eq. 3, Eq. 4 and MS-SSIM
    ("l2_without_square", "losses", "difference.square().mean()", "difference.abs().mean()", "losses"),
    ("norm_over_the_window", "losses", "vector_norm(difference, dim=(1, 3, 4))",
     "vector_norm(difference, dim=(1, 2, 3, 4))", "losses"),
    ("norm_over_the_batch", "losses", "vector_norm(difference, dim=(1, 2, 3, 4)).mean()", "vector_norm(difference)", "losses"),
    ("gradient_in_one_direction", "losses", "return horizontal + vertical", "return 2 * horizontal", "losses"),
    ("gradient_with_signs", "losses", "I.diff(dim=-1).abs() - I_hat.diff(dim=-1).abs()",
     "I.diff(dim=-1) - I_hat.diff(dim=-1)", "losses"),
    ("ms_ssim_without_exponents", "losses", "mean.relu() ** exponent", "mean.relu()", "losses"),
    ("ms_ssim_with_luminance_everywhere", "losses", "coarsest = scale == len(MS_SSIM_WEIGHTS) - 1\n",
     "coarsest = True\n", "losses"),
    ("ms_ssim_as_a_reward", "losses", "1 - ms_ssim(bright", "ms_ssim(bright", "losses"),
    ("ms_ssim_of_one_frame", "losses", "= 1 - ms_ssim(bright, bright_hat,",
     "= 1 - ms_ssim(bright[:, :, :1], bright_hat[:, :, :1],", "losses"),
    ("ms_ssim_of_signed_frames", "losses", '(x + 1) / 2 if input_range == "-1..1" else x', "x", "losses"),
    ("ms_ssim_with_another_range", "stage1", "I_hat, input_range=input_range", 'I_hat, input_range="0..1"', "loop"),
    ("loss_weights_ignored", "losses", "weights[name] * term", "term", "losses"),

    # Glow, Eq. 1, 2, 5 and 6
    ("log_det_without_actnorm", "glow", "_per_sample(self.actnorm.log_det_per_pixel() + log_det, x)",
     "_per_sample(log_det, x)", "glow"),
    ("log_det_without_convolution", "glow", "_per_sample(self.actnorm.log_det_per_pixel() + log_det, x)",
     "_per_sample(self.actnorm.log_det_per_pixel(), x)", "glow"),
    ("log_det_without_coupling", "glow", "log_det, x) + log_det_coupling",
     "log_det, x) + 0 * log_det_coupling", "glow"),
    ("log_det_of_one_pixel", "glow", "(x.shape[2] * x.shape[3] * log_det_per_pixel)", "(log_det_per_pixel)", "glow"),
    ("log_det_of_one_step", "glow", "log_det = log_det + step_log_det", "log_det = step_log_det", "glow"),
    ("forget_split_prior", "glow", "(standard_normal_log_prob(z) + log_det_split, log_det)",
     "(standard_normal_log_prob(z), log_det)", "glow"),
    ("forget_what_leaves_at_a_split", "glow", "x, z = x.chunk(2, dim=1)", "x, z = x.chunk(2, dim=1)[0], 0 * x", "glow"),
    ("coupling_looks_at_x2", "glow", "= self.shift_and_log_scale(x1)", "= self.shift_and_log_scale(x2)", "glow"),
    ("coupling_is_additive", "glow", "return shift, F.logsigmoid(h + 2)", "return shift, 0 * h", "glow"),
    ("squeeze_is_not_undone", "glow", "return self.squeeze.inverse(z)",
     "return z.reshape(len(z), -1, 2 * z.shape[2], 2 * z.shape[3])", "glow"),
    ("actnorm_flag_not_saved", "glow", "torch.tensor(False))", "torch.tensor(False), persistent=False)", "glow"),
    ("actnorm_with_unbiased_deviation", "glow", "correction=0", "correction=1", "glow"),
    ("actnorm_set_by_each_batch", "glow", "self.initialised.fill_(True)", "pass", "glow"),
    ("constant_channel_blown_up", "glow", "CONSTANT = 1e-4", "CONSTANT = 0", "glow"),
    ("lu_ignores_the_signs", "glow", "(self.sign_s * self.log_s.exp())", "(self.log_s.exp())", "glow"),
    ("bits_in_nats", "glow", "return nll / (dims * math.log(2))", "return nll / dims", "glow"),
    ("nll_has_the_wrong_sign", "density", "return -self.glow.log_prob", "return self.glow.log_prob", "features"),
    ("flow_learns_backwards", "stage2", "nll = density.nll(", "nll = -density.nll(", "loop"),

    # Features, and how they are standardised
    ("pooled_maps_swapped", "features", "(x.amax(dim=1), x.mean(dim=1))",
     "(x.mean(dim=1), x.amax(dim=1))", "features extraction"),
    ("pooled_along_time", "features", "return pooled.flatten(1, 2)",
     "return pooled.transpose(1, 2).flatten(1, 2)", "features extraction"),
    ("intensity_of_other_frames", "features", "I[:, :, ::tau]", "I[:, :, :I.shape[2] // tau]", "features extraction"),
    ("signed_error_map", "features", "(I - I_hat).abs()", "(I - I_hat)", "features extraction"),
    ("statistics_of_the_last_batch", "features", "total + x.sum(axes), squares + x.square()",
     "x.sum(axes), x.square()", "features"),
    ("variance_instead_of_deviation", "features", ".clamp(min=0).sqrt()", ".clamp(min=0)", "features"),
    ("constant_feature_divides_by_nothing", "features", "torch.where(std < CONSTANT, torch.ones_like(std), std)",
     "std", "features"),
    ("test_statistics_standardise", "stage2", "density.standardise(x)",
     "(x - x.mean((0, 2, 3), True)) / x.std((0, 2, 3), keepdim=True)", "features"),
    ("statistics_do_not_travel", "density", 'self.register_buffer("std", std)', "self.std = std", "loop"),

    # Eq. 7
    ("input_range_off", "stage1", "return scaled * 2 - 1 if", "return scaled * 2 if", "extraction loop"),
    ("eq7_without_minus", "scoring", "log1p() / -math.log(10)", "log1p() / math.log(10)", "eq7"),
    ("eq7_with_ln", "scoring", "log1p() / -math.log(10)", "log1p() / -1", "eq7"),
    ("eq7_of_the_mean_error", "eq7", "((log, highest_log), (x, highest))", "((x, highest), (log, highest_log))", "eq7"),
    ("square_of_the_averaged_colours", "eq7", "((e, highest), (e * e, highest * highest))",
     "((e, highest), (e * e.mean(-3, keepdim=True), highest * highest))", "eq7"),
    ("order_of_averaging_ignored", "eq7", "(e, eq7(e, clamp), e * e, eq7(e * e, clamp))",
     "(e, eq7(e.mean((-2, -1), keepdim=True).expand_as(e), clamp), e * e, eq7(e * e, clamp))", "eq7"),
    ("error_of_one_channel", "eq7", "[error, error.mean(-3, keepdim=True)]\n    return", "[error, error[..., :1, :, :]]\n    return", "eq7"),
    ("error_not_scaled", "extraction", "value_range=data_range(model.input_range)",
     "value_range=1.0", "extraction"),
    ("patch_mean_for_maximum", "eq7", "sums.amax((-2, -1))", "sums.mean((-2, -1))", "eq7"),
    ("patch_maximum_of_rows", "eq7", "unflatten(-1, self.columns.shape).amax(-1)", "unflatten(-1, self.columns.shape)[..., 0]", "eq7"),
    ("patches_leave_the_border_out", "scoring", "np.append(np.arange(0, size - side, stride), size - side)",
     "np.arange(0, size - side + 1, stride)", "eq7"),
    ("patches_not_scaled", "scoring", "round(patch * size / reference)", "round(patch)", "eq7"),
    ("foreground_removed", "extraction", "np.stack(kept)", "~np.stack(kept)", "extraction"),
    ("foreground_blackened", "stage1", "x * foreground(x, background)", "x * ~foreground(x, background)", "extraction loop"),
    ("background_not_blackened_in_training", "stage1", "input_range=input_range, backgrounds=black)", "input_range=input_range)", "loop"),
    ("background_of_the_whole_split", "extraction", "mog_background(self.frames[clip.start : clip.start + clip.length])",
     "mog_background(self.frames)", "extraction"),

    # From windows to frames
    ("window_sum_divided_by_T", "eq7", "finished = self.sums[:n] / counts.to(self.sums.device)",
     "finished = self.sums[:n] / self.T", "eq7"),
    ("last_window_forgotten", "prepared", "{*range(0, last + 1, stride), last}",
     "{*range(0, last + 1, stride)}", "layouts"),
    ("windows_across_clips", "prepared", "last = clip.length - T\n", "last = clip.length - 1\n", "layouts"),
    ("likelihoods_shifted_by_one", "scoring", "sums[starts + offset] += values",
     "sums[starts + offset - 1] += values", "scoring"),
    ("likelihoods_of_later_clips_shifted", "scoring", "windows[own, 1] - clip.start, T=T",
     "windows[own, 1] - clip.start + (clip.start > 0), T=T", "scoring"),
    ("centre_off_by_one", "scoring", "centres = starts + T // 2", "centres = starts + T // 2 - 1", "scoring"),
    ("reconstructions_too_dark", "extraction", "(I_hat + 1) / 2 if", "I_hat / 2 if", "extraction"),
    ("errors_shifted_by_one", "extraction", "self.readings[at : at + len(values)] = values",
     "self.readings[at + 1:at + 1 + len(values)] = values[:len(self.readings) - at - 1]", "extraction"),
    ("windows_shifted_by_one", "stage1", "frames[s : s + T] for s",
     "frames[max(s - 1, 0):max(s - 1, 0) + T] for s", "extraction loop"),
    ("features_of_other_windows", "extraction", "slice(row + first, row + first + len(chosen))",
     "slice(first, first + len(chosen))", "extraction"),
    ("autoencoder_in_training_mode", "stage1", "return model.eval()", "return model.train()", "loop"),

    # Eq. 8 and 9
    ("lambdas_swapped", "scoring", 'lambda_1=lambdas.get("app"), lambda_2=lambdas.get("mot")',
     'lambda_1=lambdas.get("mot"), lambda_2=lambdas.get("app")', "scoring"),
    ("lambda_of_the_whole_set", "scoring", 'if lambda_scope != "clip":', "if True:", "scoring"),
    ("lambda_of_the_likelihoods", "scoring", 'own.ranges.T if score.lambda_of == "features" else (own.nll, own.nll)',
     "(own.nll, own.nll)", "scoring"),
    ("last_scale_with_all_dimensions", "scoring", 'dims /= 2 ** (terms["log_p_z"].shape[1] - 1)', "dims /= 1", "scoring"),
    ("lambda_L_ignored", "scoring", "((1.0, R), (score.lambda_L, L))", "((1.0, R), (1.0, L))", "scoring"),
    ("S_normalised_over_the_set", "scoring", "S[frames] += weight * normalise(values[frames])",
     "S[frames] += weight * normalise(values)[frames]", "scoring protocols"),
    ("divided_by_the_maximum", "scoring", "return np.zeros_like(values)\n    return (values - low) / (high - low)",
     "return np.zeros_like(values)\n    return (values - low) / high", "scoring"),

    # Evaluation
    ("AUC_of_raw_scores", "protocols", "normalise_over=protocol.normalise", 'normalise_over="none"', "protocols"),
    ("training_extremes_of_the_test_set", "notebooks/07_score.ipynb", 'in scores_of(\\"train\\", \\"train\\").terms',
     'in scores_of(\\"test\\", \\"train\\").terms', "notebook_code"),
    ("ROC_with_flipped_labels", "protocols", "return roc_curve(labels, values)",
     "return roc_curve(~labels, values)", "protocols"),
    ("AUC_of_either_sign", "protocols", "np.mean([roc_auc_score(truth, values) for values, truth in parts])",
     "np.mean([max(a, 1 - a) for a in [roc_auc_score(truth, values) for values, truth in parts]])", "protocols"),
    ("bootstrap_unpaired", "protocols", "np.random.default_rng((n, resamples, draw))",
     "np.random.default_rng()", "protocols"),
    ("bootstrap_of_frames", "protocols", "    clips = by_clip(clip_ids)\n    n = len(clips)\n",
     "    clips = by_clip(np.arange(len(clip_ids)))\n    n = len(clips)\n", "protocols"),
    ("interval_of_90_percent", "protocols", "(0.025, 0.975)", "(0.05, 0.95)", "protocols"),
    ("smoothed_across_clips", "protocols",
     'smooth[frames] = gaussian_filter1d(values[frames], smoothing, mode="reflect")',
     'smooth = gaussian_filter1d(values, smoothing, mode="reflect")\n        break', "protocols"),
    ("smoothed_at_the_end_all_the_same", "protocols", 'if protocol.smooth == "before":', "if False:", "protocols"),
    ("padded_with_a_tie", "protocols", "clip.min() - 1", "clip.min()", "protocols"),
    ("lambdas_of_each_clip_under_set_wide_protocols", "scored_runs", "column if column in self.scores", '"L" if column in self.scores', "tables"),
    ("reference_fitted_on_test", "protocols", "pca.fit_transform(train), pca.transform(test)",
     "pca.fit(np.concatenate((train, test))).transform(train), pca.transform(test)", "protocols"),

    # The sensitivity study
    ("typicality_from_test", "sensitivity", 't["nll"].mean() for flow, t in terms["train"]',
     't["nll"].mean() for flow, t in terms["test"]', "sensitivity"),
    ("typicality_of_one_side", "sensitivity", 'np.abs(t["nll"] - mean[flow])', '(t["nll"] - mean[flow])', "sensitivity"),
    ("remedy_with_the_wrong_sign", "sensitivity", '-t["log_det"].sum(1)', 't["log_det"].sum(1)', "sensitivity"),
    ("a_choice_changes_nothing", "sensitivity", "stored.measured(changed(config, name, value), protocol, base)",
     "stored.measured(config, protocol, base)",
     "sensitivity"),

    # The selection
    ("held_out_clips_learned_from", "selection_trials", "if number not in spared", "if number in spared or True", "selection_trials"),
    ("noise_does_not_count", "selection", "a.mean - b.mean > noise(a, b)", "a.mean > b.mean", "selection"),
    ("every_winner_stays", "selection", "taken = clearly_better(candidate, current)", "taken = True", "selection"),
    ("a_stated_value_is_up_for_choice", "selection", "            if not stated:", "            if True:", "selection"),
    ("mask_of_half_the_change", "pasted_anomalies", "frames).max(-1) > VISIBLE", "frames).max(-1) > 8 * VISIBLE", "pasted_anomalies"),
    ("a_fast_region_at_normal_speed", "pasted_anomalies", "place.first + t * place.speed", "place.first + t", "pasted_anomalies"),
    ("a_choice_replaces_any_value", "config", ' == choice["literal"]:', ' != choice["value"]:', "adoption"),

    # Training
    ("trained_on_test_frames", "stage1", 'frames, plan = data.frames("train")',
     'frames, plan = data.frames("test")', "loop"),
    ("trained_on_test_windows", "stage1", 'windows(data.clips("train"), T',
     'windows(data.clips("test"), T', "loop"),
    ("seed_does_not_initialise_the_flow", "stage2", "torch.manual_seed(seed)", "torch.manual_seed(0)", "loop"),
    ("learning_rate_constant", "loop", "return lr * 0.5 * (1 + math.cos(math.pi * (step * cycles % steps) / steps))",
     "return lr", "loop"),
    ("learning_rate_rises_again", "loop", "math.cos(math.pi * (step", "math.cos(2 * math.pi * (step", "loop"),
    ("cosine_does_not_restart", "loop", "(step * cycles % steps)", "step", "loop"),
    ("a_window_first", "loop", "chosen = generator.integers(len(first), size=batch_size)",
     "return generator.integers(len(clips), size=batch_size)", "loop"),
    ("always_the_same_batch", "loop", "first = step * batch_size", "first = 0 * batch_size", "loop"),
    ("seed_does_not_order", "loop", "default_rng([seed, int(n)])", "default_rng([0, int(n)])", "loop"),
    ("each_pass_in_the_same_order", "loop", "default_rng([seed, int(n)])", "default_rng([seed, 0])", "loop"),
    ("seed_does_not_initialise", "stage1", "torch.manual_seed(seed)", "torch.manual_seed(0)", "loop"),
    ("resumed_from_step_0", "loop", 'first, history, kept = state["step"], state', 'first, history, kept = 0, state',
     "loop"),
    ("snapshots_forgotten_on_resuming", "loop", 'state["history"], state["snapshots"]', 'state["history"], {}', "loop"),
    ("snapshots_follow_the_training", "loop", "copy=True", "copy=False", "loop"),
    ("optimiser_not_resumed", "loop", 'optimiser.load_state_dict(state["optimiser"])', "pass", "loop"),
    ("checkpoint_of_another_run", "loop", 'f"checkpoint-{identity[:12]}.pt"', '"checkpoint.pt"', "loop"),
    ("file_not_written_in_one_piece", "paths", 'partial = path.with_name(f".{path.name}.{os.urandom(4).hex()}.part")',
     "partial = path", "loop records"),
    ("epochs_rounded_down", "loop", "epochs = math.ceil(steps / epoch_steps)",
     "epochs = steps // epoch_steps", "loop"),
    ("error_maps_end_in_black", "regions", "borderType=cv2.BORDER_REFLECT_101",
     "borderType=cv2.BORDER_CONSTANT", "regions"),
    ("error_maps_end_in_their_last_pixel", "regions", "borderType=cv2.BORDER_REFLECT_101",
     "borderType=cv2.BORDER_REPLICATE", "regions"),
    # Figures
    ("figure_5_normalised_over_the_set", "paper_figures", "normalise(scores[name].to_numpy()[results.rows(clip)])",
     "normalise(scores[name].to_numpy())[results.rows(clip)]", "figures"),
    ("figure_3_marks_above_the_median", "paper_figures", "return error > error.mean(dtype=np.float64)",
     "return error > np.median(error)", "figures"),
    ("chosen_clip_not_marked", "figure_data", 'return f"{text}, chosen" if', 'return f"{text}" if', "figures"),
    ("steps_shown_as_windows", "further_figures", '"windows": int(at) * batch,', '"windows": int(at),', "figures"),
    ("gradients_pile_up", "loop", "optimiser.zero_grad(set_to_none=True)", "pass", "loop"),
    ("gradient_not_clipped", "loop", "(model.parameters(), grad_clip)",
     "(model.parameters(), math.inf)", "loop"),
    ("divergence_not_noticed", "loop", "if bad or not math.isfinite(float(loss.detach())) or (norm",
     "if False and (norm", "loop"),

    # Data
    ("labels_shifted_by_one", "layouts", "labels[first - 1 : last] = True", "labels[first:last + 1] = True", "layouts"),
    ("labels_without_the_last_frame", "layouts", "labels[first - 1 : last] = True",
     "labels[first - 1:last - 1] = True", "layouts"),
    ("masks_and_labels_may_differ", "layouts", "    if differences:\n", "    if differences and subset:\n", "layouts"),
    ("colours_swapped", "preparation",
     "cv2.cvtColor(image, cv2.COLOR_GRAY2RGB if image.ndim == 2 else cv2.COLOR_BGR2RGB)",
     "cv2.cvtColor(image, cv2.COLOR_GRAY2RGB) if image.ndim == 2 else image", "layouts"),
    ("resized_without_antialiasing", "preparation", "antialias=True", "antialias=False", "layouts"),
    ("prepared_in_another_size", "preparation", 'if manifest.get("key") == key:',
     'if manifest.get("key"):', "layouts"),
    ("small_objects_lost_from_masks", "preparation", "adaptive_max_pool2d(torch", "-adaptive_max_pool2d(-torch",
     "layouts"),
    ("clips_in_the_order_of_letters", "files", "key=natural)", "key=lambda path: path.name)", "layouts"),

    # Tables and verdict
    ("verdict_of_the_best_part", "verdict", "for v in (NOT_REPLICATED, OPEN, REPLICATED) if",
     "for v in (REPLICATED, OPEN, NOT_REPLICATED) if", "tables"),
    ("margin_of_the_verdict_doubled", "verdict", "MARGIN = 0.01", "MARGIN = 0.02", "tables"),
    ("error_map_compared_with_intensity", "tables", '"app_error": "app_none"}', '"app_error": "app_intensity"}', "tables"),
    ("precision_not_compared", "scored_runs", '"machine.layout", ', '"machine.layout", "machine.precision", ', "tables"),

    # The generated data set
    ("generator_ignores_its_seed", "synthetic", "clip(np.random.default_rng([seed, 1, number])",
     "clip(np.random.default_rng([0, 1, number])", "synthetic"),
    ("generator_draws_at_random", "synthetic", "rng = np.random.default_rng([seed, 0])",
     "rng = np.random.default_rng()", "synthetic"),
    ("training_clip_with_an_anomaly", "synthetic", '"normal", 0.0, scene, picture)',
     '"running" if number == 1 else "normal", 0.0, scene, picture)', "synthetic"),
    ("label_file_from_zero", "synthetic", 'f"{first + 1}:{last}"', 'f"{first}:{last}"', "synthetic"),

    # The notebooks that train and score
    ("flow_trained_on_test", "notebooks/06_train_flow.ipynb", "stage2.train_flow(run.config, train,",
     "stage2.train_flow(run.config, test,", "notebook_code"),
    ("reference_trained_on_test", "notebooks/08_reference_scorers.ipynb", "feature_scorers(train, test)",
     "feature_scorers(test, test)", "notebook_code"),
    ("train_lambdas_from_test", "notebooks/07_score.ipynb", r'train=of_windows[\"train\"]', r'train=of_windows[\"test\"]',
     "notebook_code"),
    ("scored_by_training_errors", "notebooks/07_score.ipynb", 'f\\"{split}_errors.npz\\"', 'f\\"train_errors.npz\\"', "notebook_code"),

    # Records
    ("clips_called_by_number", "scored_runs", 'dtype={"clip": str}', "dtype=None", "tables"),
    ("comments_change_the_code_version", "records", "ast.dump(code_of_source(source)).encode()",
     "source.encode()", "records"),
    ("parameters_not_compared", "planning", "if now[name] != then.get(name):", "if False:", "records"),
    ("lambda_L_of_no_flow_runs_again", "records", "without.update(OF_LIKELIHOODS)", "pass", "records"),
    ("lambda_L_goes_unnoticed", "records", 'job.step == "score" and not MODELS[job.variant][1]', 'job.step == "score"',
     "records"),
    ("an_engine_that_ended_well_is_believed", "planning", "elif not ran(plan, line) and not unchanged(plan, line):",
     "elif False:", "plans"),
    ("an_earlier_calls_record_counts", "planning", 'record.get("plan") == plan.id', "True", "plans"),
    ("inputs_that_changed_go_unnoticed", "planning", "return not why_inputs_changed(job, [from_name", "return True or ([from_name",
     "plans"),
    ("another_repositorys_commit", "records", "elif not os.path.samefile(top, paths.ROOT):", "elif False:", "surroundings"),
    ("a_quota_is_ignored", "surroundings", "bound if quota is None else", "bound if True else", "surroundings"),
    ("code_not_compared", "planning", 'if code.get(name) != record["code"].get(name)', "if False", "records"),
    ("inputs_not_compared", "planning", 'if results[name] != before[name]]', "if False]", "records"),
    ("other_labels_train_anew", "records", "return frames if frames and not STEPS[reader.step].sees_labels else", "return",
     "records"),
    ("other_labels_go_unnoticed", "records", "if frames and not STEPS[reader.step].sees_labels else", "or", "records"),
    ("jobs_go_on_after_ctrl_c", "engine", "process.terminate()", "pass", "engine"),
    ("a_job_is_told_twice_to_stop", "engine", "if process not in told:", "if True:", "engine"),
    ("snakemake_goes_on_after_ctrl_c", "engine", "process.send_signal(signal.SIGINT)", "pass", "engine"),
    ("a_kernel_is_left_behind", "execution", "    finally:\n        end_children()", "    finally:\n        pass", "surroundings"),
    ("a_full_disk_is_not_told", "execution", "if disk and not kind:", "if False:", "surroundings"),
    ("an_interrupted_run_counts", "planning", 'if record["status"] != "complete":\n        return f"the',
     'if record["status"] == "failed":\n        return f"the', "records"),
)]


# -- planting ----------------------------------------------------------------------------------------------------------

def plant(fault: Fault, source: str) -> str:
    """The file's text with the fault in it. Raises ValueError where that cannot be."""
    count = source.count(fault.old)
    if count != 1:
        raise ValueError(f"the text occurs {count} times in {fault.file}, not once")
    planted = source.replace(fault.old, fault.new)
    if planted == source:
        raise ValueError("the fault changes nothing")
    try:
        code = planted
        if fault.file.endswith(".ipynb"):
            cells = json.loads(planted)["cells"]
            code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
        ast.parse(code)
    except ValueError as problem:  # SyntaxError is none, JSONDecodeError is one
        raise ValueError(f"with the fault {fault.file} is no notebook ({problem})") from None
    except SyntaxError as problem:
        raise ValueError(f"with the fault {fault.file} is no Python ({problem})") from None
    return planted


def copy_checkout(folder: Path) -> None:
    """The files that git tracks or would track, as they are now."""
    names = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT,
                           capture_output=True, text=True, check=True).stdout.split("\0")
    for name in names:
        if name and (ROOT / name).is_file() and not name.startswith("reports/"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)


def run_tests(folder: Path, files: list[str], output: Path) -> None:
    """In a process of its own: pytest on test files of a copy, up to the first failure. Ends with its status."""
    import pytest
    with open(output, "w", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    # No compiled files: Python takes one for current if the time in seconds and the size of its source agree.
    sys.dont_write_bytecode = True
    for name in [name for name in os.environ if name.startswith(("KIT_", "PYTEST_"))]:
        del os.environ[name]
    os.environ |= {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(folder)}
    sys.exit(pytest.main(["-x", "-q", "-rfE", "-p", "no:cacheprovider", "--no-header", *files]))


class Copies:
    """Copies of the checkout, each for one process at a time."""

    def __init__(self, top: Path, count: int):
        self.free: queue.Queue[Path] = queue.Queue()
        self.running: set = set()
        for number in range(count):
            copy_checkout(top / str(number))
            self.free.put(top / str(number))
        # A server imports what is slow to import, and nothing of the kit, once; each process begins as a fork of it.
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(SLOW_IMPORTS)

    def test(self, files: list[str], limit: float, fault: Fault | None = None) -> tuple[str, float]:
        """Runs tests in a copy, with a fault or without: what came of it, and the seconds that it took."""
        folder, started = self.free.get(), time.perf_counter()
        source = None
        try:
            if fault:
                source = (folder / fault.file).read_text(encoding="utf-8")
                (folder / fault.file).write_text(plant(fault, source), encoding="utf-8")
            return self._run(folder, files, limit), time.perf_counter() - started
        except (ValueError, OSError) as problem:
            return f"not applicable: {problem}", 0.0
        finally:
            if source is not None:
                (folder / fault.file).write_text(source, encoding="utf-8")
            self.free.put(folder)

    def _run(self, folder: Path, files: list[str], limit: float) -> str:
        output = folder.with_name(f"{folder.name}.txt")
        process = self.context.Process(target=run_tests, args=(folder, files, output))
        process.start()
        self.running.add(process)
        process.join(limit)
        self.running.discard(process)
        if process.is_alive():
            process.kill()
            return "took too long"
        out = output.read_text(encoding="utf-8", errors="replace") if output.exists() else ""
        failed = re.search(r"^(FAILED|ERROR) tests/(\S+)", out, flags=re.MULTILINE)
        if process.exitcode == 0:
            return "passed"
        if process.exitcode == 1 and failed:
            return f"failed {failed[2]}"
        return f"pytest ended with {process.exitcode}: {' '.join(out.split()[-30:])}"

    def stop(self) -> None:
        for process in list(self.running):
            process.kill()


# -- the command -------------------------------------------------------------------------------------------------------

def run(faults: list[Fault], jobs: int) -> dict[str, tuple[str, float]]:
    """What came of each fault, by name. Prints a line each; a fault whose tests fail without it is not tried."""
    results: dict[str, tuple[str, float]] = {}
    with tempfile.TemporaryDirectory() as top:
        copies, pool = Copies(Path(top), jobs), ThreadPoolExecutor(jobs)
        try:
            files = sorted({file for fault in faults for file in fault.test_files})
            print(f"Without any fault, {len(files)} test files:", flush=True)
            plain = {}
            futures = {pool.submit(copies.test, [file], 3600): file for file in files}
            for future in as_completed(futures):
                outcome, seconds = plain[futures[future]] = future.result()
                print(f"  {futures[future]:<32} {outcome} in {seconds:.0f} s", flush=True)

            print(f"{len(faults)} faults:", flush=True)
            futures = {}
            for fault in faults:
                broken = [file for file in fault.test_files if plain[file][0] != "passed"]
                if broken:
                    results[fault.name] = (f"not applicable: {broken[0]} does not pass without it", 0.0)
                    continue
                limit = max(LEAST_LIMIT, 5 * sum(plain[file][1] for file in fault.test_files))
                futures[pool.submit(copies.test, fault.test_files, limit, fault)] = fault
            for number, future in enumerate(as_completed(futures), start=1):
                fault, (outcome, seconds) = futures[future], future.result()
                outcome = {"passed": "SURVIVED"}.get(outcome, outcome.replace("failed ", "killed by ", 1))
                results[fault.name] = (outcome, seconds)
                print(f"  {number:>3} of {len(futures)}  {fault.name:<38} {outcome} ({seconds:.0f} s)", flush=True)
        except KeyboardInterrupt:
            print("\nInterrupted.", flush=True)
        finally:
            copies.stop()
            pool.shutdown(wait=True, cancel_futures=True)
    return results


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="faults to plant; all of them if none is named")
    parser.add_argument("--list", action="store_true", help="show the faults and plant none")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="so many at a time (1)")
    options = parser.parse_args(arguments)
    known = {fault.name: fault for fault in FAULTS}
    unknown = [name for name in options.names if name not in known]
    if unknown or options.jobs < 1:
        parser.error(f"there is no fault {unknown[0]}; --list shows them" if unknown else "--jobs is at least 1")
    chosen = [known[name] for name in options.names] or FAULTS
    if options.list:
        for fault in chosen:
            print(f"{fault.name:<38} {fault.file:<22} {fault.tests}")
        return 0
    started = time.perf_counter()
    results = run(chosen, options.jobs)
    killed = [fault for fault in chosen if results.get(fault.name, ("",))[0].startswith("killed")]
    print(f"\n{'fault':<38} {'file':<22} outcome")
    for fault in chosen:
        print(f"{fault.name:<38} {fault.file:<22} {results.get(fault.name, ('not tried',))[0]}")
    print(f"\n{len(killed)} of {len(chosen)} killed in {(time.perf_counter() - started) / 60:.0f} min.")
    return 0 if len(killed) == len(chosen) else 130 if len(results) < len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
