"""Lines of CSV files in batches, read by threads that fill queues."""

import tensorflow as tf


def batches(files, count):
    name_queue = tf.train.string_input_producer(files, shuffle=False, num_epochs=1)
    _, line = tf.TextLineReader().read(name_queue)
    x, y = tf.decode_csv(line, record_defaults=[[0.0], [0.0]])
    batch = tf.train.batch([x, y], batch_size=2)
    with tf.Session() as session:
        session.run([tf.local_variables_initializer(), tf.global_variables_initializer()])
        coordinator = tf.train.Coordinator()
        threads = tf.train.start_queue_runners(session, coordinator)
        result = [session.run(batch) for _ in range(count)]
        coordinator.request_stop()
        coordinator.join(threads)
        return result
