"""The perturbations under their short name: ``ig.perturb.FGSM``."""

from inputgrad.perturbations.attacks import PGD, Noise, VirtualAdversarial
from inputgrad.perturbations.base import Perturbation
from inputgrad.perturbations.fgsm import FGSM
from inputgrad.perturbations.persistent import Carried, ExternalAttack, Foreign, PersistentPerturbation
from inputgrad.perturbations.saliency_mask import SaliencyMask

__all__ = ["FGSM", "PGD", "Carried", "ExternalAttack", "Foreign", "Noise", "PersistentPerturbation", "Perturbation", "SaliencyMask", "VirtualAdversarial"]
