"""The command `lthpaper`: one file a group of commands, the options that several take, the terminal."""
