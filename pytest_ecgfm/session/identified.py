"""The one object that says what a run was asked for; every output renders it."""

from collections.abc import Mapping

from pytest_ecgfm.cards import ModelCard
from pytest_ecgfm.cards.statement import Statement
from pytest_ecgfm.results.cohort_order import cohort_order
from pytest_ecgfm.results.identity import EncoderIdentity, Identity, is_shipped, profile_digest
from pytest_ecgfm.results.verdict import EncoderVerdict
from pytest_ecgfm.results.versions import installed
from pytest_ecgfm.run.settings import Settings


def identify(
    settings: Settings,
    cards: Mapping[str, ModelCard],
    verdicts: tuple[EncoderVerdict, ...],
    *,
    cohorts: Mapping[str, str],
    weights: Mapping[str, str],
    selection: Mapping[str, str],
) -> Identity:
    """Make the identity of a run's verdict.

    Parameters
    ----------
    settings : Settings
        What was asked for.
    cards : mapping of str to ModelCard
        Of every encoder of the run.
    verdicts : tuple of EncoderVerdict
        For the labels that were gated nowhere.
    cohorts, weights : mapping of str to str
        Digests of the records of each cohort that was read, and of the weights of each encoder that was made.
    selection : mapping of str to str
        Options of pytest for which planned checks were not evaluated, each with what it left out.
    """
    resolved = settings.resolved_profile()
    grid = resolved.grid
    return Identity(
        plugin_version=installed("pytest-ecgfm"),
        profile=settings.profile.name,
        profile_digest=profile_digest(settings.profile),
        shipped=is_shipped(settings.profile),
        asked_digest=resolved.run.asked_digest,
        suites=grid.suites,
        cohorts={one: cohorts.get(one, "") for one in cohort_order(settings.cohorts)},
        labels=grid.labels,
        fractions=grid.fractions,
        seeds=grid.seeds,
        references=grid.references,
        limit=settings.limit,
        skip_bad_records=settings.skip_bad_records,
        precision=settings.precision,
        narrowed={**settings.narrowed, **selection},
        encoders={
            one.encoder: EncoderIdentity(
                weights_sha256=weights.get(one.encoder, ""),
                version=cards[one.encoder].version if one.encoder in cards else "",
                gated_nowhere=tuple(one.basis.gated_nowhere),
                statement=cards[one.encoder].statement if one.encoder in cards else Statement(),
            )
            for one in verdicts
        },
        baselines={label: one.run_id for label, one in settings.baselines.items()},
    )
