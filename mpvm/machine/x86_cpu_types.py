"""The types of all CPU models, for whoever lists types; a machine makes its own model's alone."""

from mpvm.cpu.models import model_names
from mpvm.machine.x86_cpu import feature_properties, x86_cpu_class

for _name, _ in model_names():
    _cls = x86_cpu_class(_name)
    _cls.class_properties = {**_cls.class_properties, **feature_properties()}
