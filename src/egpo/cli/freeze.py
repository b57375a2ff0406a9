"""`egpo freeze`: write down what an experiment will test, before it is run."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import yaml

from egpo.analysis.frozen import freeze as plan_of
from egpo.common.errors import UserError
from egpo.common.files import write_text
from egpo.common.paths import BASE, ROOT, Paths
from egpo.config.experiment import Catalogue

HEAD = (
    "# What will be tested, how, and on what: made by `egpo freeze`. An edit changes the hash, and the claims say so.\n"
)


def freeze(catalogue: Catalogue, out: Path) -> int:
    """Write the plan to `out`.

    Raises:
        UserError: there is a plan already, or an evaluation of a trained model.
    """
    if out.exists():
        raise UserError(f"{out}: is there already. A frozen plan is not replaced: choose another name, or remove it.")
    if done := _evaluated(Paths(catalogue.experiment.experiment)):
        raise UserError(
            f"Models of this experiment have been evaluated already, {len(done)} times, such as {done[0]}: a plan made "
            "now is none. Freeze it before, or give the experiment another name."
        )
    plan = plan_of(catalogue, date.today().isoformat())
    named = out.relative_to(ROOT) if out.is_relative_to(ROOT) else out  # as the key `claims` takes it
    write_text(out, HEAD + yaml.safe_dump(plan.model_dump(mode="json"), sort_keys=False, allow_unicode=True))
    print(
        f"{named}: {len(plan.comparisons)} comparisons, {len(plan.training_seeds)} training seeds, hash {plan.hash}. "
        f"Commit it, and add to the configuration: claims: {named}"
    )
    return 0


def _evaluated(paths: Paths) -> list[Path]:
    """The records of all trained models that there are, of whatever method, seed and step; not of untrained ones."""
    any_model = {"backbone": "*", "seed": "*"}
    files: list[Path] = []
    for rule in ("evaluate_model", "evaluate_milestone"):
        everything, untrained = (
            set(Path().glob(str(paths.output(rule, "records", **any_model, method=method, step="*"))))
            for method in ("*", BASE)
        )
        files += sorted(everything - untrained)
    return files
