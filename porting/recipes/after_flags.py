"""The same flags with argparse: a main function that tests can call, and no global state."""

import argparse


def main(argv=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("--learning_rate", type=float, default=0.1, help="The learning rate.")
    parser.add_argument("--summary_dir", default="logs", help="The folder to write to.")
    flags = parser.parse_args(argv)
    print(flags.summary_dir, flags.learning_rate)


if __name__ == "__main__":
    main()
