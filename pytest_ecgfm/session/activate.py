"""The start of a run with ``--ecgfm``: what was asked for is validated before what computes is imported."""

import pytest

from pytest_ecgfm.cohorts.pseudonyms import pseudonym_key
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.report.escape import terminal
from pytest_ecgfm.run.settings import read_settings
from pytest_ecgfm.session.beforehand import look_ahead
from pytest_ecgfm.session.collect import SUITES_PACKAGE
from pytest_ecgfm.session.declared import declared_cohorts, model_cards, register_declared
from pytest_ecgfm.session.known_labels import require_known


def activate(config: pytest.Config) -> None:
    """Validate what was asked for, choose what is collected, register the session's plugin.

    Raises
    ------
    pytest.UsageError
        One line: which option, why, and the valid values.
    """
    try:
        if config.getoption("ecgfm_list"):
            # Each of these imports is made by the runs alone that need it: a misspelt option is told at once.
            from pytest_ecgfm.session.listing import Listing

            config.pluginmanager.register(Listing(config), "ecgfm-listing")
            return
        register_declared(config)
        own = declared_cohorts(config)
        settings = read_settings(config, {name: card.labels for name, (_, _, card) in own.items()})
        if settings.pseudonyms:
            pseudonym_key(settings.cache)
        cards = model_cards(config, settings)
        chosen = {name: own[name] for name in settings.cohorts if name in own}
        known = require_known(settings, {name: card for name, (_, _, card) in chosen.items()}, config)
        # Each worker of -n would look again at what the controller has seen.
        whole = not config.option.collectonly and not hasattr(config, "workerinput")
        loaded = look_ahead(settings, cards, chosen, known.loaded) if whole else known.loaded
        from pytest_ecgfm.session.session import Session

        session = Session(config, settings, cards, chosen, loaded)
    except EcgfmError as error:
        raise pytest.UsageError(terminal(str(error))) from None
    session.warnings += known.notes
    config.pluginmanager.register(session, "ecgfm-session")
    if config.args_source is not pytest.Config.ArgsSource.ARGS:
        config.args = [SUITES_PACKAGE]
        config.option.pyargs = True
