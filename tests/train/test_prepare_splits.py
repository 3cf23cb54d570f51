import pytest

from train.prepare.splits import assign_splits, group_of


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("2908549_1", "set_2908549"),
        ("trainset/2908549_12", "set_2908549"),
        ("2908549_1_mirror", "set_2908549"),
        ("2908549_mirror_1", "set_2908549_mirror_1"),  # the counter does not follow a number
        ("Portrait_Flipped_v2", "set_portrait"),
        ("portrait - Copy (3)", "set_portrait"),
        ("portrait (2)", "set_portrait"),
        ("cat_jpg.rf.0f3c9a", "set_cat"),
        ("image_0001", "set_image_0001"),
        ("photo_1", "set_photo_1"),
        ("0_Parade_marchingband_1_849", "set_0_parade_marchingband_1_849"),
        ("copy", "set_copy"),
        ("_mirror", "set__mirror"),
    ],
)
def test_group_is_the_stem_without_marks_of_copies(name, group):
    assert group_of("set", name) == group


def split(photos, known=None, *, val_share=0.5, seed=0, only=None):
    return assign_splits(photos, known or {}, val_share=val_share, seed=seed, only=only)


def test_photos_that_share_a_key_directly_or_through_others_stay_together():
    photos = [("a", "1"), ("b", "1"), ("b", "2"), ("c", "2"), ("d", "4"), ("e", "5"), ("f", "6"), ("g", "7")]

    for seed in range(20):
        splits = split(photos, seed=seed)
        assert len(set(splits[:4])) == 1
        assert splits.count("val") == 4


def test_share_is_met_and_the_seed_decides():
    photos = [(str(i),) for i in range(200)]

    assert split(photos, val_share=0.1).count("val") == 20
    assert split(photos, seed=3) == split(photos, seed=3)
    assert split(photos, seed=3) != split(photos, seed=4)
    assert split(photos, val_share=0) == ["train"] * 200
    assert split(photos, val_share=1) == ["val"] * 200


def test_two_sets_of_copies_leave_at_least_one_for_val():
    assert split([("a",), ("a",), ("a",), ("b",)], val_share=0.1) == ["train", "train", "train", "val"]
    assert split([("a",), ("a",)], val_share=0.1) == ["train", "train"]


def test_copies_of_known_photos_follow_them():
    known = {"a": "val", "1": "train"}

    assert split([("a", "9"), ("b", "9"), ("c", "1"), ("d", "4")], known, val_share=0) == [
        "val",
        "val",
        "train",
        "train",
    ]
    assert split([("b", "9"), ("a", "9")], known) == ["val", "val"]
    assert split([("a", "1")], known) == [None]  # a copy of photos in both


def test_a_chosen_split_takes_all_but_copies_from_the_other():
    assert split([("a",), ("b",), ("c",)], {"a": "train", "b": "val"}, only="val") == [None, "val", "val"]
