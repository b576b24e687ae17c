"""Batch norm and Adam by TensorFlow's fused operations, to train on a processor (03_training)."""

import keras


class FusedBatchNormalization(keras.layers.BatchNormalization):
    """Keras' batch norm of feature maps, in training as one operation forward and one backward.

    Keras writes it as means, squares, products and sums, each of which reads and writes the whole
    feature map; fused, a map is read and written a few times in all. The function, its gradient
    and the variables are the same. For TensorFlow and inputs (N, H, W, C) only.
    """

    def call(self, inputs, training=None, mask=None):
        """Return the normalised feature maps, of the shape and type of the inputs."""
        if not training:
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf

        # Sums over a feature map are float32, as in Keras, for 16 bits are too few. The operation
        # sums bfloat16 in float32 too, and is quick where channels fill vectors of 16.
        direct = inputs.dtype == "bfloat16" and inputs.shape[-1] % 16 == 0
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs if direct else tf.cast(inputs, "float32"),
            scale=tf.convert_to_tensor(self.gamma),
            offset=tf.convert_to_tensor(self.beta),
            mean=tf.zeros([0]),
            variance=tf.zeros([0]),
            epsilon=self.epsilon,
            is_training=True,
        )
        # The operation divides by n - 1 where it hands out the variance, Keras by n.
        count = tf.cast(tf.reduce_prod(tf.shape(inputs)[:-1]), "float32")
        variance = variance * (1 - 1 / count)
        for moving, now in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + now * (1 - self.momentum))
        return tf.cast(outputs, self.compute_dtype)


class FusedAdam(keras.optimizers.Adam):
    """Keras' Adam with one operation a variable, in place of a dozen over all weights.

    The variables and their order are those of Keras, so that a checkpoint of one goes on with the
    other. For TensorFlow on one device only.
    """

    def update_step(self, gradient, variable, learning_rate):
        """Move one variable, and the moments of its gradient, by one step."""
        import tensorflow as tf

        number = self._get_variable_index(variable)
        step = tf.cast(self.iterations + 1, variable.dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[number].value.handle,
            v=self._velocities[number].value.handle,
            beta1_power=tf.pow(tf.cast(self.beta_1, variable.dtype), step),
            beta2_power=tf.pow(tf.cast(self.beta_2, variable.dtype), step),
            lr=tf.cast(learning_rate, variable.dtype),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=tf.cast(gradient, variable.dtype),
        )


def with_fused_batch_norms(network, precision=None):
    """Copy a network, with `FusedBatchNormalization` in place of Keras' batch norm.

    Parameters
    ----------
    network : keras.Model
        Its batch norms normalise the last axis of feature maps (N, H, W, C).
    precision : str, optional
        Name of a Keras dtype policy for all layers but the last; that of the network if not given.

    Returns
    -------
    keras.Model
        The same function with the same weights in the same order, in variables of its own.
    """

    def copy(layer):
        is_norm = isinstance(layer, keras.layers.BatchNormalization)
        kind = FusedBatchNormalization if is_norm else type(layer)
        config = layer.get_config()
        if precision and layer not in (network.layers[0], network.layers[-1]):
            config["dtype"] = precision
        return kind.from_config(config)

    fused = keras.models.clone_model(network, clone_function=copy)
    fused.set_weights(network.get_weights())
    return fused
