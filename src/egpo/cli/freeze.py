"""`egpo freeze`: write down what an experiment will test, before it is run."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import yaml

from egpo.analysis.frozen import freeze as plan_of
from egpo.common.errors import UserError
from egpo.common.files import write_text
from egpo.common.paths import Paths
from egpo.config.experiment import Catalogue

HEAD = (
    "# What will be tested, how, and on what: made by `egpo freeze`. An edit changes the hash, and the claims say so.\n"
)


def freeze(catalogue: Catalogue, out: Path) -> int:
    """Write the plan to `out`.

    Raises:
        UserError: there is a plan already, or an evaluation of a trained model.
    """
    experiment, paths = catalogue.experiment, Paths(catalogue.experiment.experiment)
    if out.exists():
        raise UserError(f"{out}: is there already. A frozen plan is not replaced: choose another name, or remove it.")
    done = [
        model
        for model in (
            (b, m, s) for b in experiment.backbones for m in experiment.methods for s in experiment.training_seeds
        )
        if (paths.evaluation(*model) / "records.parquet").exists()
    ]
    if done:
        raise UserError(
            f"{len(done)} models of this experiment have been evaluated already, so a plan made now is none: freeze it "
            "before, or give the experiment another name."
        )
    plan = plan_of(catalogue, date.today().isoformat())
    write_text(out, HEAD + yaml.safe_dump(plan.model_dump(mode="json"), sort_keys=False, allow_unicode=True))
    print(
        f"{out}: {len(plan.comparisons)} comparisons with {len(plan.training_seeds)} training seeds, hash {plan.hash}. "
        f"Commit it, and add to the configuration: claims: {out}"
    )
    return 0
