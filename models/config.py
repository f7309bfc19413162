"""Sizes and precision of the backbone, as plain data: no torch, since the workflow reads it at parsing."""

from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class WanConfig:
    """Shape of one Wan DiT; the defaults are Wan2.1-T2V-1.3B.

    freq_dim: size of the timestep sinusoid. text_len: rows every prompt is zero-padded to (never masked).
    Raises ValueError if the heads do not divide `dim` or a head cannot be split into rotary pairs for three
    axes.
    """

    dim: int = 1536
    ffn_dim: int = 8960
    num_layers: int = 30
    num_heads: int = 12
    freq_dim: int = 256
    text_dim: int = 4096
    text_len: int = 512
    in_channels: int = 16
    out_channels: int = 16
    patch_height: int = 2
    patch_width: int = 2
    eps: float = 1e-6

    def __post_init__(self) -> None:
        if self.dim % self.num_heads:
            raise ValueError(
                f"WanConfig: dim {self.dim} is not a multiple of num_heads {self.num_heads}; choose a dim "
                "that is."
            )
        if self.head_dim % 2 or self.head_dim < 6:
            raise ValueError(
                f"WanConfig: head size {self.head_dim} has no rotary pairs for three axes; use an even "
                "size >= 6."
            )
        if self.freq_dim % 2:
            raise ValueError(
                f"WanConfig: freq_dim {self.freq_dim} is odd; the sinusoid needs cosine and sine halves."
            )

    @property
    def head_dim(self) -> int:
        return self.dim // self.num_heads

    @property
    def rotary_pairs(self) -> tuple[int, int, int]:
        """Complex pairs of a head given to time, height and width (22, 21, 21 for a head of 128)."""
        third = self.head_dim // 2 // 3
        return self.head_dim // 2 - 2 * third, third, third

    def tokens_per_frame(self, height: int, width: int) -> int:
        """Tokens of one latent frame. Raises ValueError if the patch does not divide the frame."""
        if height % self.patch_height or width % self.patch_width:
            raise ValueError(
                f"A latent frame of {height}x{width} cannot be cut into patches of "
                f"{self.patch_height}x{self.patch_width}; choose a clip size whose latent height and width "
                "the patch divides."
            )
        return (height // self.patch_height) * (width // self.patch_width)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class DtypePolicy:
    """Where the forward leaves the parameters' dtype."""

    rotary: Literal["float64", "float32"] = "float64"
    """dtype of the rotation of queries and keys."""
    fp32_modules: Literal["float32", "parameters"] = "parameters"
    """dtype of time embedding, modulation, residual stream and head: that of their parameters, with every
    operation rounded, or float32 around lower-precision matrix products, as RAVEN and Wan's own code do."""
    operators: Literal["plain", "fused"] = "fused"
    """The very operations of Wan's public code ("plain": a Conv3d patch embedding, RMSNorm spelled out),
    or faster equals that may round the last bit elsewhere ("fused")."""
    products: Literal["parameters", "bfloat16"] = "parameters"
    """dtype of matrix products: that of their weights, or bfloat16 by autocast on float32 weights."""
    linear: Literal["parameters", "fp8"] = "parameters"
    """Products of the blocks' large linear layers: as `products` says, or in e4m3 (models/fp8.py)."""
    attention: Literal["parameters", "fp8"] = "parameters"
    """The same of self-attention."""

    @property
    def uses_fp8(self) -> bool:
        """Whether anything is computed in e4m3."""
        return "fp8" in (self.linear, self.attention)

    @property
    def fused(self) -> bool:
        """Whether operators are the faster ones."""
        return self.operators == "fused"
