from lorakit.cli.main import entry

entry()
