"""Installs the tutorials, with their samples, as one distribution.

`data/` holds the samples. It is installed as `tutorial_support/sample_data`, so that
the programs find their samples from a clone and from a wheel alike.
"""

import pathlib

from setuptools import setup

HERE = pathlib.Path(__file__).parent

setup(
    name="graph-tutorials",
    version="0.1.0",
    description="TensorFlow's classic graph tutorials as tested programs on TensorFlow 2",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=[
        "catsdogs_finetune",
        "cifar10_cnn",
        "flowers_transfer",
        "mnist_mechanics",
        "porting",
        "tutorial_support",
        "tutorial_support.cluster",
        "tutorial_support.sample_data",
    ],
    package_dir={"tutorial_support.sample_data": "data"},
    package_data={
        "cifar10_cnn": ["README.md", "images/*.png", "results/*.csv"],
        "catsdogs_finetune": ["README.md", "images/*.png"],
        "flowers_transfer": ["README.md", "images/*.png"],
        "mnist_mechanics": ["README.md", "images/*.png"],
        "tutorial_support.sample_data": [
            "README.md",
            "cifar10/*.gz",
            "cifar10_cnn/*",
            "drawn_cats_and_dogs/*/*/*.jpg",
            "drawn_flowers/*/*.jpg",
            "mnist/*.gz",
            "mobilenet_v2/*",
        ],
    },
    install_requires=[
        "tensorflow>=2.16",
        "filelock",
        "h5py",
        "numpy",
        "six",
        "matplotlib",
        "pillow",
        "tensorboard>=2.16",
        "setuptools<81",  # TensorBoard before 2.20 imports pkg_resources, which 81 dropped
        "tqdm",
    ],
    extras_require={
        "bench": ["jax", "torch"],
        "test": ["build", "mypy", "pytest", "pytest-xdist", "pyyaml", "ruff", "wheel"],
    },
)
