import vicinal as vc
from vicinal.testing import KnnConformance
from vicinal_template import SPEC


class TestScipyTree(KnnConformance):
    spec = SPEC


def test_found_through_its_entry_point():
    table = vc.plugins.list()
    row = table[table["name"] == SPEC.name].iloc[0]
    assert (row["stage"], row["distribution"], row["status"]) == ("knn", "vicinal-template", "ok")
