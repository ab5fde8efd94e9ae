"""The names read from timm's sources are the names that timm knows."""

import timm

from mergerexp.config.backbone_names import backbone_names, check_backbone


def test_same_names_as_timm():
    assert backbone_names() >= set(timm.list_models())
    assert check_backbone("resnet18.a1_in1k") is None
    assert "did you mean" in check_backbone("xceptoin")


def test_every_name_can_be_created_or_is_renamed():
    for name in backbone_names() - set(timm.list_models()):
        assert timm.is_model(name), name
