"""Reading the reasoning: the adapter's predicted embeddings as words, with confidences.

The adapter is trained to predict the embeddings of a written trace. A picture allows several traces, and what comes
closest to all of them, in the cosine at every token, lies along the mean of their unit embeddings. So a *linear* map
that tells from the embeddings of a trace which kinds of damage it names, fitted on a bank of written traces, gives for
a prediction about the share of the fitting traces that name them: a confidence. The fit needs the text encoder alone:
no picture, no training run. What one model says in a wording of its own is learned from pictures whose damage is known
(:meth:`ReadOut.corrected`), and so is which confidence is right how often, kind by kind (:meth:`ReadOut.calibrated`).

A model may bring a diagnosis by what is measured of a picture (:mod:`cotir.diagnosis`): where that is at hand, damage
is told by it, and the scene by the thoughts.

Shapes: B pictures or texts, N text tokens, D width of the text encoder, T positions that are looked at, K kinds.
"""

import hashlib
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from cotir.adapter import CoTOutput
from cotir.calibration import platt, ridge
from cotir.diagnosis import Diagnosis, shares
from cotir.encode import TextTokens
from cotir.errors import ConfigError, WeightsError
from cotir.lens import Lens, LinearMap
from cotir.phrase_bank import KINDS, draw_bank
from cotir.reasoning import Finding, Reasoning
from cotir.storage import read_safetensors, write_safetensors
from cotir.words import SCENE_WORDS, Scene

FILE = "reasoning.safetensors"
"""Of a read-out, in a model's folder."""

_BANK = 2000
_BATCH = 64
_PARTS = ("scene", "degradation", "plan")
_LENS = ("mean", "basis", "weight")
_DIAGNOSIS = "diagnosis."


@dataclass(frozen=True)
class ReadOut:
    """Reads reasoning for one text encoder, and is calibrated for one model or none."""

    lenses: Mapping[str, Lens]
    damage: LinearMap
    """Of degradation and plan features, to presence and to presence times severity of every kind (2 K)."""
    scenes: LinearMap
    """Of scene features, to every word of every group of :data:`~cotir.words.SCENE_WORDS`."""
    calibration: Tensor | None = None
    """(K, 2): slope and offset of the log-odds over the raw score."""
    benefit: Tensor | None = None
    """(K + 1,): PSNR in dB that restoring gains, linear in the confidences; the offset is last."""
    diagnosis: Diagnosis | None = None
    """By what is measured of a picture; None where damage is told by the thoughts alone."""

    @classmethod
    def fit(
        cls,
        encode: Callable[[Sequence[str]], TextTokens],
        *,
        seed: int = 0,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> "ReadOut":
        """Fit one to a text encoder, on a bank of written traces.

        Args:
            encode: texts to their tokens, as the model under training is given them.
            seed: of the bank.
            on_progress: called with (texts encoded, texts in all).
        """
        bank = draw_bank(_BANK, np.random.default_rng(seed))
        total, done = len(_PARTS) * _BANK, 0
        lenses, features = {}, {}
        for part in _PARTS:
            chunks = []
            for start in range(0, _BANK, _BATCH):
                chunks.append(_on_cpu(encode([trace.text(part) for trace in bank[start : start + _BATCH]])))
                done += len(chunks[-1].mask)
                on_progress(done, total)
            tokens = TextTokens(torch.cat([c.embeddings for c in chunks]), torch.cat([c.mask for c in chunks]))
            lenses[part] = Lens.fitted(tokens)
            features[part] = lenses[part](tokens.embeddings, tokens.mask)
        damage = torch.tensor([trace.damage_values() for trace in bank])
        scenes = torch.tensor([trace.scene_values() for trace in bank])
        both = torch.cat([features["degradation"], features["plan"]], dim=1)
        return cls(lenses, LinearMap.fitted(both, damage), LinearMap.fitted(features["scene"], scenes))

    def features(self, output: CoTOutput) -> Tensor:
        """What damage is told from (B, F)."""
        parts = {part: _part(output, part) for part in _PARTS}
        return self._damage_features(CoTOutput(output.text_update, **parts))

    def scores(self, output: CoTOutput) -> Tensor:
        """Raw presence of every kind (B, K); about a probability, before calibration."""
        return self.damage(self.features(output))[:, : len(KINDS)]

    def presence(self, output: CoTOutput) -> Tensor:
        """As :meth:`scores`, where the predictions are and with their gradient."""
        there = self.to(_there(output, "degradation").device)
        return there.damage(there._damage_features(output))[:, : len(KINDS)]

    def to(self, device: torch.device) -> "ReadOut":
        """This read-out on a device."""
        lenses = {part: _moved(lens, device) for part, lens in self.lenses.items()}
        calibration, benefit = (None if t is None else t.to(device) for t in (self.calibration, self.benefit))
        moved = {"damage": _moved(self.damage, device), "scenes": _moved(self.scenes, device)}
        return replace(self, lenses=lenses, **moved, calibration=calibration, benefit=benefit)

    def read(self, output: CoTOutput, measured: Sequence[Tensor] | None = None) -> list[Reasoning]:
        """What was thought about each picture.

        Args:
            output: thoughts about B pictures.
            measured: of each of them, in one or more looks (L, E): tells the damage, if there is a :attr:`diagnosis`.

        Raises:
            ConfigError: the output holds no predictions, or is of another text encoder.
        """
        scenes = self.scenes(self.lenses["scene"](_part(output, "scene")))
        if self.diagnosis is None or measured is None:
            values = self.damage(self.features(output))
            told = list(zip(self.confidences(values[:, : len(KINDS)]), severities_of(values), strict=True))
        else:
            told = [self.diagnosis.of_looks(looks) for looks in measured]
        calibrated = self.calibration is not None or self.diagnosis is not None
        return [
            Reasoning(
                _scene(scene),
                _findings(confidences.tolist(), severities.tolist()),
                calibrated=calibrated,
                expected_gain=None if self.benefit is None else float(self.expected_gain(confidences)),
            )
            for scene, (confidences, severities) in zip(scenes, told, strict=True)
        ]

    def find(self, measured: Tensor) -> tuple[Finding, ...]:
        """Every kind of damage by what is measured of a picture (L, E) alone, the most confident first.

        Raises:
            ConfigError: there is no :attr:`diagnosis`.
        """
        if self.diagnosis is None:
            raise ConfigError("this read-out has no diagnosis; damage is read from what the model thinks")
        confidences, severities = self.diagnosis.of_looks(measured)
        return _findings(confidences.tolist(), severities.tolist())

    def corrected(self, features: Tensor, labels: Tensor, severities: Tensor) -> "Corrected":
        """This read-out corrected by pictures whose damage is known, and calibrated on them.

        Args:
            features: from :meth:`features`, of the pictures (B, F).
            labels: 1 where the kind was there, else 0 (B, K).
            severities: in [0, 1]; of kinds that are not there they do not matter (B, K).

        Raises:
            ConfigError: shapes differ, or a kind was never there or always.
        """
        if labels.shape != severities.shape or labels.shape != (len(features), len(KINDS)):
            raise ConfigError(
                f"labels are {tuple(labels.shape)} and severities {tuple(severities.shape)}; both need "
                f"({len(features)}, {len(KINDS)}): a row for each picture's features"
            )
        shares(labels)  # that each kind can be learned
        found = self.damage.corrected(features, torch.cat([labels, labels * severities], dim=1))
        scores = found.unseen[:, : len(KINDS)]
        return Corrected(replace(self, damage=found.corrected).calibrated(scores, labels), scores)

    def calibrated(self, scores: Tensor, labels: Tensor) -> "ReadOut":
        """This read-out with confidences that are right as often as they say.

        Platt scaling (Platt 1999), kind by kind; slopes are drawn towards one another, for some kinds are seldom.

        Args:
            scores: from :meth:`scores`, of pictures whose damage is known (B, K).
            labels: 1 where the kind was there, else 0 (B, K).

        Raises:
            ConfigError: shapes differ, or a kind was never there or always.
        """
        if scores.shape != labels.shape or scores.shape[1] != len(KINDS):
            raise ConfigError(
                f"scores are {tuple(scores.shape)} and labels {tuple(labels.shape)}; both need (pictures, {len(KINDS)})"
            )
        share = shares(labels)
        return replace(self, calibration=platt(scores.double(), labels.double(), share).float())

    def with_benefit(self, confidences: Tensor, gains: Tensor) -> "ReadOut":
        """This read-out, which then also tells whether restoring is worth it.

        A ridge regression of what restoring gained on the confidences: nothing is assumed of a kind but that more of it
        helps or hurts. What a model does to undamaged pictures is the harm that weighs most; some must be among them.

        Args:
            confidences: calibrated, of pictures under vague instructions in which nothing is found: of these alone it
                is asked (B, K).
            gains: of PSNR over the input in dB when they were restored (B,).

        Raises:
            ConfigError: there are not as many gains as pictures, or the read-out is not calibrated.
        """
        if self.calibration is None:
            raise ConfigError("the read-out is not calibrated; its confidences say nothing of gains yet")
        if gains.shape != confidences.shape[:1]:
            raise ConfigError(
                f"confidences are {tuple(confidences.shape)} and gains {tuple(gains.shape)}; give a gain for each"
            )
        weights = ridge(confidences.double(), gains.double())
        return replace(self, benefit=weights.float())

    def expected_gain(self, confidences: Tensor) -> Tensor:
        """PSNR in dB that restoring gains in the mean over pictures of such confidences (B, K); (B,).

        Raises:
            ConfigError: that was never measured (:meth:`with_benefit`).
        """
        if self.benefit is None:
            raise ConfigError("what restoring gains was not measured for this model; see ReadOut.with_benefit")
        return confidences @ self.benefit[:-1] + self.benefit[-1]

    def tensors(self) -> dict[str, Tensor]:
        """All it is, by name: in half precision but for what is added up."""
        tensors = {f"{part}.{name}": getattr(lens, name) for part, lens in self.lenses.items() for name in _LENS}
        tensors |= {f"{name}.matrix": each.matrix for name, each in self._maps().items()}
        tensors = {name: tensor.half() for name, tensor in tensors.items()}
        tensors |= {f"{name}.offset": each.offset for name, each in self._maps().items()}
        if self.calibration is not None:
            tensors["calibration"] = self.calibration
        if self.benefit is not None:
            tensors["benefit"] = self.benefit
        if self.diagnosis is not None:
            tensors |= {_DIAGNOSIS + name: tensor for name, tensor in self.diagnosis.tensors().items()}
        return tensors | {"words": _words()}

    def save(self, path: Path) -> None:
        """Write it as one safetensors file.

        Raises:
            OSError: the disk is full, or fails otherwise.
        """
        partial = path.with_name(f".{uuid.uuid4().hex}.part")  # another process may be reading, or writing the same
        try:
            write_safetensors(self.tensors(), partial)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: Path) -> "ReadOut":
        """Read what :meth:`save` wrote.

        Raises:
            WeightsError: it cannot be read, or was written for other words.
        """
        tensors = read_safetensors(path)
        names = [name for name in tensors if name.startswith(_DIAGNOSIS)]
        measuring = {name.removeprefix(_DIAGNOSIS): tensors.pop(name) for name in names}
        expected = {f"{part}.{name}" for part in _PARTS for name in _LENS} | {
            f"{name}.{part}" for name in ("damage", "scenes") for part in ("matrix", "offset")
        }
        if set(tensors) - {"calibration", "benefit", "words"} != expected or not torch.equal(
            tensors["words"], _words()
        ):
            raise WeightsError(f"{path} is no read-out of this version's words; delete it, and make it anew")
        tensors = {name: tensor.float() for name, tensor in tensors.items()}
        lenses = {part: Lens(*(tensors[f"{part}.{name}"] for name in _LENS)) for part in _PARTS}
        damage, scenes = (
            LinearMap(tensors[f"{name}.matrix"], tensors[f"{name}.offset"]) for name in ("damage", "scenes")
        )
        calibration, benefit = tensors.get("calibration"), tensors.get("benefit")
        try:
            diagnosis = Diagnosis.of(measuring) if measuring else None
        except WeightsError as error:
            raise WeightsError(f"{path}: {error}") from error
        return cls(lenses, damage, scenes, calibration, benefit, diagnosis)

    def _maps(self) -> dict[str, LinearMap]:
        return {"damage": self.damage, "scenes": self.scenes}

    def _damage_features(self, output: CoTOutput) -> Tensor:
        parts = [self.lenses[part](_there(output, part)) for part in ("degradation", "plan")]
        return torch.cat(parts, dim=1)

    def confidences(self, scores: Tensor) -> Tensor:
        """Of raw scores (B, K), in [0, 1]."""
        if self.calibration is None:
            return scores.clamp(0, 1)
        slope, offset = self.calibration.unbind(dim=1)
        return torch.sigmoid(scores * slope + offset)


@dataclass(frozen=True)
class Corrected:
    """A read-out that was corrected by pictures, and calibrated."""

    read_out: ReadOut
    scores: Tensor
    """Raw presence that it tells of each if it is corrected by the others alone (B, K)."""


def severities_of(values: Tensor) -> Tensor:
    """Of every kind, if it is there (B, K) in [0, 1], from its presence and its presence times severity (B, 2 K)."""
    scores, strengths = values.chunk(2, dim=1)
    # where hardly anything is said of a kind, its severity is not known better than the middle
    return ((strengths + 0.15) / (scores.clamp_min(0) + 0.3)).clamp(0, 1)


def _words() -> Tensor:
    """A number for the kinds and words that a read-out's columns stand for (1,)."""
    digest = hashlib.sha256(json.dumps([KINDS, SCENE_WORDS]).encode()).digest()
    return torch.tensor([int.from_bytes(digest[:7], "big")])


def _part(output: CoTOutput, part: str) -> Tensor:
    return _there(output, part).detach().float().cpu()


def _there(output: CoTOutput, part: str) -> Tensor:
    tensor = getattr(output, part)
    if tensor is None:
        raise ConfigError("the output holds no reasoning; ask the transformer for it with predict_reasoning=True")
    return tensor


R = TypeVar("R", Lens, LinearMap)


def _moved(record: R, device: torch.device) -> R:
    tensors = {field.name: getattr(record, field.name).to(device) for field in fields(record)}
    return type(record)(**tensors)


def _scene(values: Tensor) -> Scene:
    sizes = [len(words) for words in SCENE_WORDS.values()]
    rows = zip(SCENE_WORDS.items(), values.split(sizes), strict=True)
    return Scene(**{part: words[int(group.argmax())] for (part, words), group in rows})


def _findings(confidences: Sequence[float], severities: Sequence[float]) -> tuple[Finding, ...]:
    found = [Finding(*row) for row in zip(KINDS, confidences, severities, strict=True)]
    return tuple(sorted(found, key=lambda finding: -finding.confidence))


def _on_cpu(tokens: TextTokens) -> TextTokens:
    return TextTokens(tokens.embeddings.detach().float().cpu(), tokens.mask.cpu())
