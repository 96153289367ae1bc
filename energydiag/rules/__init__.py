"""What is concluded: one file a rule, from measurements to a finding."""

from energydiag.rules.judge import judge
from energydiag.rules.rule import Judgement, Rule, rules

__all__ = ["Judgement", "Rule", "judge", "rules"]
