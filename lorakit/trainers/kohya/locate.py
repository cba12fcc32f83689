"""Where sd-scripts and its Python are."""

from lorakit.trainers.checkout import Home

PIN = "48d368fa557731ad0488c07304dfeba8c07910eb"  # v0.10.1 and its first fixes
HOME = Home(
    title="sd-scripts",
    trainer="kohya",
    venv=".venv",
    mark="train_network.py",
    pin=PIN,
    not_there='make vendor sets one up; or trainer = "embedded".',
    set_up="""\
  make vendor          in a clone of lorakit: checks it out, builds vendor/.venv (7 GB on Linux)""",
    otherwise="""
  trainer = "embedded" in the recipe
                       SD1.5, SDXL and FLUX without sd-scripts""",
)
locate = HOME.locate
require = HOME.require
