"""Columns of the Census-Income files, in file order, and the values of the three columns that labels are made of."""

from collections.abc import Mapping

COLUMNS = (
    "age", "class_worker", "det_ind_code", "det_occ_code", "education", "wage_per_hour", "hs_college",
    "marital_stat", "major_ind_code", "major_occ_code", "race", "hisp_origin", "sex", "union_member",
    "unemp_reason", "full_or_part_emp", "capital_gains", "capital_losses", "stock_dividends", "tax_filer_stat",
    "region_prev_res", "state_prev_res", "det_hh_fam_stat", "det_hh_summ", "instance_weight", "mig_chg_msa",
    "mig_chg_reg", "mig_move_reg", "mig_same", "mig_prev_sunbelt", "num_emp", "fam_under_18", "country_father",
    "country_mother", "country_self", "citizenship", "own_or_self", "vet_question", "vet_benefits",
    "weeks_worked", "year", "income_50k",
)  # fmt: skip
NUMBERS = ("age", "wage_per_hour", "capital_gains", "capital_losses", "stock_dividends", "num_emp", "weeks_worked")
NOT_INPUTS = ("education", "marital_stat", "instance_weight", "income_50k")
NOMINAL = tuple(name for name in COLUMNS if name not in (*NUMBERS, *NOT_INPUTS))

INCOME = {"- 50000.": 0, "50000+.": 1}
COLLEGE: tuple[str, ...] = (
    "Associates degree-occup /vocational",
    "Associates degree-academic program",
    "Bachelors degree(BA AB BS)",
    "Masters degree(MA MS MEng MEd MSW MBA)",
    "Prof school degree (MD DDS DVM LLB JD)",
    "Doctorate degree(PhD EdD)",
)
NO_COLLEGE: tuple[str, ...] = (
    "Children",
    "Less than 1st grade",
    "1st 2nd 3rd or 4th grade",
    "5th or 6th grade",
    "7th and 8th grade",
    "9th grade",
    "10th grade",
    "11th grade",
    "12th grade no diploma",
    "High school graduate",
    "Some college but no degree",
)
EDUCATION: Mapping[str, int] = {**dict.fromkeys(NO_COLLEGE, 0), **dict.fromkeys(COLLEGE, 1)}
SINGLE = "Never married"
NOT_SINGLE: tuple[str, ...] = (
    "Married-civilian spouse present",
    "Divorced",
    "Widowed",
    "Separated",
    "Married-spouse absent",
    "Married-A F spouse present",
)
MARITAL = {SINGLE: 1} | dict.fromkeys(NOT_SINGLE, 0)
