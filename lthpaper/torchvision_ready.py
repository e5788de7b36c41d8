"""torchvision, imported. A fork server takes names of modules and imports them once for all its processes."""

from lthpaper.torchvision_compat import torchvision

torchvision()
