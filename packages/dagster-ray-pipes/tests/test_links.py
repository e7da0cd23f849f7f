"""Which links to a dashboard are shown, and which are kept."""

import dagster as dg
import pytest

from dagster_ray.core import is_of_this_machine
from dagster_ray.pipes._submitted_job import dashboard_link

KEY = "dagster_ray/dashboard"
HERE = ["http://127.0.0.1:8265", "http://127.1.2.3:8265", "http://[::1]:8265", "http://localhost", "http://a.localhost"]
ELSEWHERE = ["http://10.0.0.7:8265", "https://ray.example/x", "http://localhost.example:8265", "http://[fd00::1]:8265"]


@pytest.mark.parametrize(("url", "is_here"), [*((url, True) for url in HERE), *((url, False) for url in ELSEWHERE)])
def test_a_link_of_this_machine_is_shown_while_the_step_runs_and_never_kept(url: str, is_here: bool) -> None:
    assert is_of_this_machine(url) is is_here
    link = dg.MetadataValue.url(url)
    shown = dg.MetadataValue.text(f"{url} (while the step runs)") if is_here else link
    assert dashboard_link(url, in_event=True) == {KEY: shown}
    assert dashboard_link(url, in_event=False) == ({} if is_here else {KEY: link})


def test_without_a_dashboard_there_is_no_link() -> None:
    assert dashboard_link(None, in_event=True) == {}
