"""Fetches the output of a layer of a Keras model, through Keras' own session."""

import tensorflow.compat.v1 as tf
from tensorflow.keras import backend as K


def hidden_activations(model, x):
    session = K.get_session()
    hidden = model.layers[0].output
    return session.run(hidden, {model.input: x})


def limit_gpu_memory():
    config = tf.ConfigProto()
    config.gpu_options.allow_growth = True
    K.set_session(tf.Session(config=config))
