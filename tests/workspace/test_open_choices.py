"""What the paper leaves open is marked in the source, and every mark is found with its reason."""

from cola_world.workspace.open_choices import open_choices


def test_marks_are_found_in_comments_and_docstrings(tmp_path):
    source = tmp_path / "src" / "a.py"
    source.parent.mkdir()
    source.write_text(
        "class A:\n"
        "    # not in paper: because it is\n"
        "    # unstated.\n"
        "    clip: float = 1.0\n"
        "    size = 3  # not in paper: because three is enough.\n"
        "def f():\n"
        '    """Does.\n\n'
        "    not in paper: because so\n"
        '    it goes.\n    """\n'
    )
    found = [(each.line, each.subject, each.reason) for each in open_choices(tmp_path)]
    assert found == [
        (2, "clip: float = 1.0", "because it is unstated."),
        (5, "size = 3", "because three is enough."),
        (9, "f", "because so it goes."),
    ]
