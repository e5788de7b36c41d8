"""The command `lthpaper`: one file per group of commands, the options that several take, the terminal."""
