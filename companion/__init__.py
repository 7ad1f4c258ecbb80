"""The companion around the method: runs, reports, labelling, and the command `alpt`."""

# puts the other ways to ask into alpt_lib's tables, for every worker, command and notebook
from companion import acquisition as acquisition
