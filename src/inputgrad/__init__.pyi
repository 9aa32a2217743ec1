# The public names, one per line: `from module import name as name`. lazy.py reads this file at run time.

from inputgrad import adaptive as adaptive
from inputgrad import attributions as attributions
from inputgrad import audit as audit
from inputgrad import engines as engines
from inputgrad import heads as heads
from inputgrad import perturb as perturb
from inputgrad import pictures as pictures
from inputgrad import places as places
from inputgrad import recipes as recipes
from inputgrad import terms as terms
from inputgrad.base_losses.losses import OnTarget as OnTarget
from inputgrad.batch import Batch as Batch
from inputgrad.batch import Step as Step
from inputgrad.diagnosis.validation import validate as validate
from inputgrad.errors import EngineError as EngineError
from inputgrad.loading import load as load
from inputgrad.loss import InputGradientLoss as InputGradientLoss
from inputgrad.operators.fields import Field as Field
from inputgrad.operators.functions import divergence as divergence
from inputgrad.operators.functions import field as field
from inputgrad.operators.functions import gradient as gradient
from inputgrad.operators.functions import hessian_vector as hessian_vector
from inputgrad.operators.functions import jacobian as jacobian
from inputgrad.operators.functions import laplacian as laplacian
from inputgrad.operators.functions import output_and_gradient as output_and_gradient
from inputgrad.operators.hessians import hessian as hessian
from inputgrad.operators.hessians import hessian_diagonal as hessian_diagonal
from inputgrad.perturbations.attacks import PGD as PGD
from inputgrad.perturbations.attacks import Noise as Noise
from inputgrad.perturbations.attacks import VirtualAdversarial as VirtualAdversarial
from inputgrad.perturbations.base import Perturbation as Perturbation
from inputgrad.perturbations.fgsm import FGSM as FGSM
from inputgrad.perturbations.gradient_paths import follow_gradient as follow_gradient
from inputgrad.perturbations.persistent import Carried as Carried
from inputgrad.perturbations.persistent import ExternalAttack as ExternalAttack
from inputgrad.perturbations.persistent import Foreign as Foreign
from inputgrad.perturbations.persistent import PersistentPerturbation as PersistentPerturbation
from inputgrad.perturbations.saliency_mask import SaliencyMask as SaliencyMask
from inputgrad.places.base import Place as Place
from inputgrad.places.perturbed import Perturbed as Perturbed
from inputgrad.places.samples import Given as Given
from inputgrad.places.samples import Interpolate as Interpolate
from inputgrad.places.sampling import Near as Near
from inputgrad.places.sampling import Uniform as Uniform
from inputgrad.step.schedules import lazy_adam as lazy_adam
from inputgrad.terms import *  # noqa: F403  # their stub lists them

__version__: str
