# The public names, one per line: `from module import name as name`. lazy.py reads this file at run time.

from inputgrad.attributions.attribute_model import attribute as attribute
from inputgrad.attributions.grad_cam import GradCAM as GradCAM
from inputgrad.attributions.methods import Attribution as Attribution
from inputgrad.attributions.methods import ExpectedGradients as ExpectedGradients
from inputgrad.attributions.methods import InputGradient as InputGradient
from inputgrad.attributions.methods import InputTimesGradient as InputTimesGradient
from inputgrad.attributions.methods import IntegratedGradients as IntegratedGradients
