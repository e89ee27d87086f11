"""Which checks each broken encoder must fail, and which it must still pass."""

from pytest_ecgfm.results.checks import CHECKS
from tests.broken_entries import CARD, Entry
from tests.broken_models import contract, groups, honest, leads, representation, small_networks, stability

AS_STORED = {"input": "records", "preprocessing": "model", "pretrained_on": []}

# That nothing is kept takes long to see, and is asked of some only.
CONTRACT = tuple(name for name in CHECKS if name.startswith("contract.") and name != "contract.memory")


def contract_but(*names: str) -> tuple[str, ...]:
    """Every check of the contract that is not named."""
    assert set(names) <= set(CONTRACT)
    return tuple(name for name in CONTRACT if name not in names)


MATRIX = (
    Entry(
        "ignoring its input",
        representation.IgnoringInput,
        (
            "contract.declared_leads",
            "contract.declared_seconds",
            "downstream.auroc",
            "downstream.auroc_gain",
            "downstream.macro_auroc",
            "downstream.r2",
            "downstream.r2_gain",
            "stability.effective_rank",
            "stability.displacement[gain@1.1]",
            "stability.retrieval[gain@1.1]",
            "relevance.selected_auroc",
            "separability.neighbours[embedding]",
        ),
        (*contract_but("contract.declared_leads", "contract.declared_seconds"), "contract.memory"),
    ),
    Entry("collapsed", representation.Collapsed, ("stability.effective_rank", "relevance.shuffled_labels"), CONTRACT),
    Entry(
        "random at each call",
        contract.Restless,
        ("contract.repeatable", "contract.batch", "contract.lead_order", "contract.generated", "relevance.efficiency"),
        ("contract.frozen", "contract.declared_leads", "contract.hard_records", "stability.effective_rank"),
    ),
    Entry(
        "coupled to its batch",
        contract.Centring,
        ("contract.batch", "contract.generated", "contract.unchanged", "relevance.efficiency"),
        contract_but("contract.batch", "contract.generated", "contract.unchanged"),
    ),
    Entry(
        "coupled to its batch where that is large",
        contract.CentringLarge,
        ("contract.batch",),
        contract_but("contract.batch", "contract.unchanged"),
    ),
    Entry(
        "coupled to its batch behind a constant that leaves few digits",
        contract.CentringBehindRounding,
        ("contract.batch",),
        ("contract.repeatable", "contract.frozen"),
    ),
    Entry(
        "reading identifiers",
        contract.ReadingIdentifiers,
        ("contract.batch",),
        (*contract_but("contract.batch"), "downstream.auroc"),
        {**CARD, "input": "records"},
    ),
    Entry(
        "counting what it has seen",
        contract.KeepingCount,
        ("contract.unchanged",),
        ("contract.frozen", "contract.declared_leads"),
    ),
    Entry(
        "zeros for the unusual",
        contract.ZerosForTheUnusual,
        ("contract.hard_records",),
        (*contract_but("contract.hard_records"), "downstream.auroc"),
    ),
    Entry(
        "one answer for the unusual",
        contract.TheUsualForTheUnusual,
        ("contract.hard_records",),
        (*contract_but("contract.hard_records"), "downstream.auroc"),
    ),
    Entry(
        "one answer for all slow hearts",
        contract.OneAnswerForTheSlow,
        ("contract.hard_records",),
        contract_but("contract.hard_records"),
    ),
    Entry(
        "random, and over what it said before",
        contract.ReusingMemory,
        ("contract.repeatable", "contract.batch", "contract.lead_order", "contract.unchanged"),
        ("contract.frozen", "contract.hard_records"),
    ),
    Entry("several fields", contract.SeveralFields, (*CONTRACT, "contract.memory", "downstream.auroc"), ()),
    Entry("complex numbers", contract.ComplexNumbers, (*CONTRACT, "downstream.auroc"), ()),
    Entry(
        "a closure that drifts",
        contract.drifting_closure,
        ("contract.frozen",),
        (*contract_but("contract.frozen", "contract.declared_leads"), "downstream.auroc"),
    ),
    Entry(
        "drifting batch normalisation",
        contract.RunningStatistics,
        ("contract.frozen",),
        (*contract_but("contract.frozen"), "contract.memory", "downstream.auroc"),
    ),
    Entry(
        "coding the cohort",
        leads.KnowingCohorts,
        (
            "transfer.drop",
            "transfer.spearman_drop",
            "relevance.cohorts",
            "separability.robustness",
            "separability.cohort_auroc",
        ),
        ("relevance.efficiency", "contract.repeatable", "stability.effective_rank"),
        AS_STORED,
    ),
    Entry(
        "a shortcut by one lead",
        leads.OnlyV4,
        ("contract.declared_leads", "relevance.concentration", "relevance.prior[AF]"),
        (*contract_but("contract.declared_leads"), "relevance.efficiency"),
    ),
    Entry(
        "blind to a lead",
        leads.BlindToV6,
        ("contract.declared_leads",),
        (*contract_but("contract.declared_leads"), "relevance.concentration", "downstream.auroc"),
    ),
    Entry("blind to the order of leads", leads.AnyOrder, ("stability.noticed",), (*CONTRACT, "downstream.auroc")),
    Entry(
        "blind to the order of chest leads",
        leads.SortingChestLeads,
        ("stability.noticed[reversed_precordials]",),
        (*CONTRACT, "downstream.auroc", "stability.noticed[swapped_arms]"),
    ),
    Entry(
        "reading five seconds of ten",
        leads.FirstHalf,
        ("contract.declared_seconds",),
        (*contract_but("contract.declared_seconds"), "downstream.auroc"),
    ),
    Entry(
        "sensitive to the mains",
        stability.HearingMains,
        ("stability.displacement[mains_60hz]", "stability.retrieval[mains_60hz]", "stability.auroc_drop[mains_60hz]"),
        ("stability.displacement[gain@1.1]", "stability.displacement[mains_50hz]", "contract.repeatable"),
    ),
    Entry(
        "sensitive to the gain",
        stability.HearingGain,
        ("stability.displacement[gain@1.1]",),
        ("stability.displacement[mains_60hz]", "contract.repeatable"),
    ),
    Entry(
        "reading the length of records that tell their label by it",
        stability.ReadingLength,
        ("stability.auroc_drop[length@7s]",),
        ("contract.repeatable", "downstream.auroc", "stability.displacement[gain@1.1]"),
        cohorts="telling",
    ),
    Entry(
        "unstable behind large dimensions",
        lambda: stability.NoisyBehindLargeDimensions(1.0),
        ("stability.displacement[gain@1.1]", "stability.displacement[muscle@24dB]"),
        CONTRACT,
    ),
    Entry(
        "unstable around a large constant",
        lambda: stability.NoisyBesideConstants(1.0),
        ("stability.displacement[gain@1.1]", "stability.retrieval[muscle@24dB]"),
        ("stability.effective_rank",),
    ),
    Entry(
        "unstable beside records of an enormous embedding",
        lambda: stability.NoisyButForOne(1.0),
        ("stability.displacement[gain@1.1]", "stability.displacement[muscle@24dB]"),
        ("stability.effective_rank",),
    ),
    Entry(
        "blind to the disease of the old",
        groups.BlindToTheOld,
        ("subgroups.worst", "subgroups.gap"),
        ("contract.repeatable", "contract.batch", "downstream.auroc"),
        cohorts="grouped",
    ),
    Entry(
        "blind to the disease of the old, who are few",
        groups.BlindToTheOld,
        (),
        ("downstream.auroc", "subgroups.worst"),
        cohorts="few old",
    ),
    Entry(
        "lowering the scores of a newer device",
        groups.HearingTheDevice,
        ("downstream.sensitivity", "transfer.sensitivity"),
        ("contract.repeatable", "contract.batch", "downstream.auroc", "transfer.drop"),
        cohorts="newer device",
    ),
    Entry(
        "remembering what it saw",
        lambda: stability.Memoising(1.0),
        ("stability.history",),
        ("stability.displacement[muscle@24dB]", "stability.displacement[shift@20ms]"),
    ),
    Entry("two dimensions on a line", representation.TwoOnALine, ("stability.effective_rank",), ()),
    Entry("halves that are strangers", stability.HalfEmpty, ("stability.retest",), ("contract.repeatable",)),
    Entry(
        "fooled by flat leads",
        leads.FooledByFlatLeads,
        ("relevance.baselines", "relevance.deletion"),
        ("contract.repeatable", "relevance.efficiency", "stability.displacement[gain@1.1]"),
    ),
    Entry(
        "not a number on flat leads",
        contract.DividingByZero,
        ("contract.hard_records", "contract.generated"),
        contract_but("contract.hard_records", "contract.generated"),
    ),
    Entry("leaking memory", contract.Leaking, ("contract.memory",), (*CONTRACT, "downstream.auroc")),
    Entry("imprecise", stability.Imprecise, ("stability.precision",), ("contract.repeatable",)),
    Entry(
        "nothing but noise",
        lambda: honest.Noisy(1000.0),
        (
            "downstream.auroc",
            "downstream.auroc_change",
            "downstream.r2",
            "downstream.r2_change",
            "separability.trustworthiness",
        ),
        CONTRACT,
    ),
    Entry(
        "a hash of the bytes",
        representation.HashOfBytes,
        ("downstream.auroc", "stability.displacement[gain@1.1]"),
        CONTRACT,
        undecided=("separability.robustness", "transfer.drop", "transfer.spearman_drop"),
    ),
    Entry(
        "at chance, with weights that were never trained",
        representation.AtChance,
        ("downstream.auroc",),
        contract_but("contract.batch", "contract.lead_order", "contract.generated", "contract.hard_records"),
        undecided=("separability.robustness", "transfer.drop"),
    ),
    Entry(
        "blind to gain, and reading ranks",
        stability.Ranked,
        (),
        ("downstream.auroc", "stability.displacement[shift@20ms]"),
        undecided=("stability.displacement[gain", "stability.retrieval[gain", "stability.auroc_drop[gain"),
    ),
    Entry(
        "blind to gain by its card, and reading lead II",
        lambda: small_networks.Plain(1),
        (),
        ("contract.declared_leads",),
        {**CARD, "leads": "II", "normalize": "zscore-per-lead"},
        undecided=(
            "stability.displacement[gain",
            "stability.displacement[lost_v2",
            "stability.displacement[lost_la",
            "stability.retrieval[resample@250Hz",
        ),
    ),
    Entry(
        "a card with another width",
        honest.Honest,
        ("contract.repeatable", "contract.batch", "contract.generated", "downstream.auroc"),
        (),
        {**CARD, "dimensions": 55},
    ),
)
