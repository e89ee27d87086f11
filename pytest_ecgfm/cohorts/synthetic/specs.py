"""The four embedded cohorts, a table row each: what they are modelled on and in what they differ."""

from dataclasses import dataclass

from pytest_ecgfm.cohorts.base import PublishedSplit
from pytest_ecgfm.cohorts.synthetic.noise import Device
from pytest_ecgfm.signals.records import LEADS


@dataclass(frozen=True)
class CohortSpec:
    """Everything that makes one embedded cohort differ from another.

    Attributes
    ----------
    name, title, continent, country : str
        `name` as users write it; `continent` one of `pytest_ecgfm.cohorts.base.CONTINENTS`.
    modelled_on : str
        The published cohort whose properties these are, with its reference.
    sampling_rate : float
        Hz.
    lengths : tuple of (samples, share)
        Record lengths and how common each is.
    stored_leads : tuple of str
        Order and spelling of the leads in the published files.
    device : Device
        Filters, mains, noise and amplitudes; `Device.scale` is the published cohort's, the rest is chosen to be
        plausible where nothing is published.
    prefix : str
        First letters of the record identifiers.
    n_records : int
    patients_a_record : float
        Patients over records; 1 where none are published, lest a patient hide under two names.
    has_patients : bool
        Whether the published cohort names patients.
    split : PublishedSplit or None
        The authors' folds.
    age : tuple of float
        Mean and standard deviation, years.
    female : float
        Share of women.
    published_prevalence : dict of str to float
        Share of records with a label in the published cohort (rounded).
    prevalence : dict of str to float
        The share aimed at here. CD, AF, SB and STach are raised to 8 % where they are rarer, so that 1,000 records hold
        enough positives to test on; the others as published, or raised along with CD. NORM follows from the rest.
    incomplete : float
        Share with an incomplete bundle block: too mild for LBBB or RBBB, though mostly counted as CD.
    findings : float
        Share with an abnormality that no label names.
    reader_error : tuple of float
        Chance that a true label is overlooked, and that an absent one is written down.
    """

    name: str
    title: str
    continent: str
    country: str
    modelled_on: str
    sampling_rate: float
    lengths: tuple[tuple[int, float], ...]
    stored_leads: tuple[str, ...]
    device: Device
    prefix: str
    n_records: int
    patients_a_record: float
    has_patients: bool
    split: PublishedSplit | None
    age: tuple[float, float]
    female: float
    published_prevalence: dict[str, float]
    prevalence: dict[str, float]
    incomplete: float
    findings: float
    reader_error: tuple[float, float]


def _shares(text: str) -> dict[str, float]:
    """Parse percentages such as ``"CD 22 AF 7"`` into shares."""
    parts = text.split()
    return {label: float(value) / 100 for label, value in zip(parts[::2], parts[1::2], strict=True)}


_UPPER = ("I", "II", "III", "AVR", "AVL", "AVF", "V1", "V2", "V3", "V4", "V5", "V6")
_LOWER = LEADS

SPECS: dict[str, CohortSpec] = {
    spec.name: spec
    for spec in (
        CohortSpec(
            name="synthetic-europe",
            title="Synthetic Europe",
            continent="Europe",
            country="Germany",
            modelled_on="PTB-XL: Wagner et al., Sci Data 7:154 (2020)",
            sampling_rate=500.0,
            lengths=((5000, 1.0),),
            stored_leads=_UPPER,
            device=Device(0.05, 150.0, 0.0, 50.0, 0.006, 0.07, 0.010, 1.0, 1.0),
            prefix="SEU",
            n_records=1000,
            patients_a_record=18869 / 21799,
            has_patients=True,
            split=PublishedSplit(train=tuple(range(1, 9)), validation=(9,), test=(10,)),
            age=(62.0, 17.0),
            female=0.48,
            published_prevalence=_shares("CD 22.5 AF 6.9 SB 2.9 STach 3.8 NORM 43.6 LBBB 2.5 RBBB 2.5 1AVB 3.7"),
            prevalence=_shares("CD 22.5 AF 8 SB 8 STach 8 NORM 40 LBBB 3 RBBB 3 1AVB 4"),
            incomplete=0.05,
            findings=0.27,
            reader_error=(0.03, 0.004),
        ),
        CohortSpec(
            name="synthetic-asia",
            title="Synthetic Asia",
            continent="Asia",
            country="China",
            modelled_on="Chapman-Shaoxing and Ningbo: Zheng et al., Sci Data 7:48 (2020); Sci Rep 10:2898 (2020)",
            sampling_rate=500.0,
            lengths=((5000, 1.0),),
            stored_leads=_LOWER,
            device=Device(0.5, 100.0, 0.9, 50.0, 0.010, 0.10, 0.014, 4.88, 1.0),
            prefix="SAS",
            n_records=1000,
            patients_a_record=1.0,
            has_patients=False,
            split=None,
            age=(58.0, 19.0),
            female=0.44,
            published_prevalence=_shares("CD 9 AF 3.9 SB 36.7 STach 16.1 NORM 18 LBBB 0.9 RBBB 2.5 1AVB 2.5"),
            prevalence=_shares("CD 10 AF 8 SB 36.7 STach 16.1 NORM 18 LBBB 1.5 RBBB 2.5 1AVB 2.5"),
            incomplete=0.015,
            findings=0.40,
            reader_error=(0.02, 0.003),
        ),
        CohortSpec(
            name="synthetic-north-america",
            title="Synthetic North America",
            continent="North America",
            country="USA",
            modelled_on="Georgia, in Perez Alday et al., Physiol Meas 41:124003 (2020)",
            sampling_rate=500.0,
            lengths=((5000, 0.95), (4500, 0.01), (4000, 0.01), (3500, 0.01), (3000, 0.01), (2500, 0.01)),
            stored_leads=_LOWER,
            device=Device(0.05, 100.0, 0.5, 60.0, 0.008, 0.09, 0.012, 4.88, 1.0),
            prefix="SNA",
            n_records=1000,
            patients_a_record=1.0,
            has_patients=False,
            split=None,
            age=(60.0, 15.5),
            female=0.46,
            published_prevalence=_shares("CD 20 AF 5.5 SB 16.2 STach 12.2 NORM 17 LBBB 2.2 RBBB 5.2 1AVB 7.4"),
            prevalence=_shares("CD 20 AF 8 SB 16.2 STach 12.2 NORM 17 LBBB 2.5 RBBB 5.2 1AVB 7.4"),
            incomplete=0.04,
            findings=0.62,
            reader_error=(0.04, 0.005),
        ),
        CohortSpec(
            name="synthetic-south-america",
            title="Synthetic South America",
            continent="South America",
            country="Brazil",
            modelled_on="CODE-15 %: Ribeiro et al., Nat Commun 11:1760 (2020); Lima et al., Nat Commun 12:5117 (2021)",
            sampling_rate=400.0,
            lengths=((4096, 0.6), (2934, 0.4)),
            stored_leads=("DI", "DII", "DIII", "AVR", "AVL", "AVF", "V1", "V2", "V3", "V4", "V5", "V6"),
            device=Device(0.1, 120.0, 0.0, 60.0, 0.012, 0.14, 0.018, 2.0, 1.7),
            prefix="SSA",
            n_records=1000,
            patients_a_record=0.90,
            has_patients=True,
            split=None,
            age=(54.0, 19.0),
            female=0.60,
            published_prevalence=_shares("CD 6 AF 2 SB 1.6 STach 2.2 NORM 40 LBBB 1.7 RBBB 2.8 1AVB 1.7"),
            prevalence=_shares("CD 11 AF 8 SB 8 STach 8 NORM 42 LBBB 2.5 RBBB 3.5 1AVB 2.5"),
            incomplete=0.015,
            findings=0.30,
            reader_error=(0.03, 0.004),
        ),
    )
}
"""The four embedded cohorts by name."""
