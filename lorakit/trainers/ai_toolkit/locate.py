"""Where ai-toolkit and its Python are."""

from __future__ import annotations

from lorakit.trainers.checkout import Home

PIN = "27a03a91f23eb1b757d5ec2e80ee3e129cfcc350"  # 2026-08-21
HOME = Home(
    title="ai-toolkit",
    trainer="ai-toolkit",
    venv=".venv-ai-toolkit",
    mark="toolkit/config_modules.py",
    pin=PIN,
    pin_rule="ai-toolkit-pin",
    not_there="docs/ai-toolkit.md says how to set one up: LORAKIT_AI_TOOLKIT names it.",
    set_up="""\
  git clone https://github.com/ostris/ai-toolkit DIR
                       then its README: a virtual environment with torch and its requirements""",
)
locate = HOME.locate
