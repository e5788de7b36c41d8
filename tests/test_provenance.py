"""The provenance of a number."""

import pytest
import torch

from lthpaper import provenance


@pytest.mark.parametrize(
    ("kernels", "limits", "said"),
    [
        ("AVX2", {}, "AVX2"),
        ("AVX512", {}, "AVX512"),
        ("AVX2", {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}, "AVX2"),
        ("AVX2", {"ATEN_CPU_CAPABILITY": "avx2"}, "AVX2, oneDNN any"),
        ("AVX512", {"ONEDNN_MAX_CPU_ISA": "avx2"}, "AVX512, oneDNN AVX2"),
        ("AVX512", {"ATEN_CPU_CAPABILITY": "avx512"}, "AVX512"),
        ("AVX512", {"ONEDNN_MAX_CPU_ISA": "ALL"}, "AVX512"),
        ("AVX512", {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}, "AVX512"),
        ("AVX512", {"DNNL_MAX_CPU_ISA": "SSE41"}, "AVX512, oneDNN SSE41"),
    ],
)
def test_a_processors_name_says_which_instructions_torch_and_onednn_use(monkeypatch, kernels, limits, said):
    for name in ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in limits.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: kernels)
    assert provenance.device_name("cpu").endswith(f" ({said})")
