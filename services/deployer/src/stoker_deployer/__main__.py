"""`python -m stoker_deployer serve | migrate`."""

from stoker_deployer.main import main

if __name__ == "__main__":
    main()
