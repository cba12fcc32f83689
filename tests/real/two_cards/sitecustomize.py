"""In the processes of a launch: DistributedDataParallel hands a module without trainable parameters back as it is.

accelerate does so itself on cards (Accelerator.prepare_model, branch MULTI_GPU); on the CPU (branch MULTI_CPU) it wraps every module,
also the frozen U-Net, which DistributedDataParallel refuses. It is the one thing in which several processes of sd-scripts on the CPU
are not as those on cards. Python imports this file by its name when the folder is on PYTHONPATH.
"""

import os

if "LOCAL_RANK" in os.environ:
    from torch.nn.parallel import DistributedDataParallel

    def unless_frozen(cls, module, *_args, **_named):
        return (
            object.__new__(cls)
            if any(parameter.requires_grad for parameter in module.parameters())
            else module
        )

    DistributedDataParallel.__new__ = unless_frozen
