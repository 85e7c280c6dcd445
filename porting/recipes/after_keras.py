"""The same on Keras 3, which has no session: a model of the wanted part."""

import tensorflow as tf


def hidden_activations(model, x):
    part = tf.keras.Model(model.inputs, model.layers[0].output)  # shares the weights
    return part(x).numpy()


def limit_gpu_memory():
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
